"""What of a network is kept."""

import numpy as np
import numpy.typing as npt

__all__ = ["Selection"]

Selection = npt.NDArray[np.bool_]
"""(components + 1,): what is kept. Entry 0 stands for all that cannot be removed and is always True."""
