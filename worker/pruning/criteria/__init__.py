"""What makes a channel important, by name. A new criterion is one class in a file of its own, listed here."""

from service.contract.recipe import Criterion as CriterionName
from worker.pruning.criteria.batchnorm import BatchNorm
from worker.pruning.criteria.magnitude import Magnitude
from worker.pruning.criteria.random import Random
from worker.pruning.criteria.taylor import Taylor
from worker.pruning.scoring import Criterion

__all__ = ["CRITERIA"]

CRITERIA: dict[CriterionName, Criterion] = {
    "magnitude": Magnitude(),
    "taylor": Taylor(),
    "batchnorm": BatchNorm(),
    "random": Random(),
}
