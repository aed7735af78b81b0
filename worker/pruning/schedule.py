"""How the way to the target is divided."""

from service.contract.recipe import Schedule

__all__ = ["milestones"]


def milestones(schedule: Schedule, left: float = 0.5) -> list[float]:
    """Share of the saving that is reached after each of n steps, ending with 1.

    At step t: `linear` t/n; `cubic` 1 − (1 − t/n)³ (Zhu and Gupta, To prune, or not to prune, 2017, eq. 1);
    `exponential` (1 − r^(t/n)) ÷ (1 − r), where r is the fraction `left` after the last step, so that each step keeps
    the same fraction of what the one before had left.
    """
    steps = 1 if schedule.kind == "one_shot" else schedule.steps
    ways = [(step + 1) / steps for step in range(steps - 1)]
    match schedule.kind:
        case "cubic":
            return [1 - (1 - way) ** 3 for way in ways] + [1.0]
        case "exponential":
            return [(1 - left**way) / (1 - left) for way in ways] + [1.0]
        case _:
            return [*ways, 1.0]
