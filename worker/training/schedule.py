"""The learning rate over a run."""

import math

__all__ = ["learning_rate"]


def learning_rate(update: int, updates: int, peak: float, warmup: float) -> float:
    """The learning rate of update 0 ≤ `update` < `updates`: a linear rise to `peak`, then half a cosine towards zero.

    Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts. `warmup` is the share of updates that rise; it
    spares a network that has just lost channels large steps while its momentum buffers are still empty.
    """
    rising = math.floor(warmup * updates)
    if update < rising:
        return peak * (update + 1) / (rising + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (update - rising) / (updates - rising)))
