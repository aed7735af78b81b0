"""Training in rounds: between the steps of a prune, and after the last."""

from service.contract.recipe import Recipe
from worker.pruning.schedule import milestones
from worker.training.laps import Lap

__all__ = ["laps_of", "steps_of"]


def steps_of(recipe: Recipe) -> tuple[int, int]:
    """(structured, sparse): how many steps each part of a resolved recipe's prune takes."""
    steps = len(milestones(recipe.prune.schedule))
    return (steps if recipe.prune.structured else 0, steps if recipe.prune.sparse else 0)


def laps_of(recipe: Recipe) -> list[Lap]:
    """The rounds of a resolved recipe: one after every step of the prune, the last of them being `finetune`.

    Without `prune.schedule.epochs` there is that one only. `rewind` says whether the learning rate falls once over all
    rounds or once in each (Renda et al., Comparing Rewinding and Fine-tuning in Neural Network Pruning, ICLR 2020,
    §2).
    """
    schedule = recipe.prune.schedule
    between = sum(steps_of(recipe)) - 1 if schedule.epochs else 0
    lengths = [schedule.epochs] * between + [recipe.finetune.epochs]
    anew = schedule.rewind != "none"
    before = [sum(lengths[:index]) for index in range(len(lengths))]
    return [
        Lap(
            index=index,
            count=len(lengths),
            epochs=epochs,
            offset=0 if anew else before[index],
            span=epochs if anew else sum(lengths),
            first_epoch=before[index],
        )
        for index, epochs in enumerate(lengths)
    ]
