"""How the way to the target is divided."""

from service.contract.recipe import Schedule

__all__ = ["milestones"]


def milestones(schedule: Schedule) -> list[float]:
    """Share of the saving that is reached after each step, ending with 1."""
    if schedule.kind == "one_shot":
        return [1.0]
    return [(step + 1) / schedule.steps for step in range(schedule.steps)]
