"""What makes a unit or a weight important, by name. A new criterion is one class in a file of its own, listed here."""

from service.contract.recipe import Criterion as CriterionName
from worker.pruning.criteria.activation import Activation
from worker.pruning.criteria.batchnorm import BatchNorm
from worker.pruning.criteria.fisher import Fisher
from worker.pruning.criteria.fpgm import Fpgm
from worker.pruning.criteria.grasp import Grasp
from worker.pruning.criteria.lamp import Lamp
from worker.pruning.criteria.magnitude import Magnitude
from worker.pruning.criteria.movement import Movement
from worker.pruning.criteria.random import Random
from worker.pruning.criteria.snip import Snip
from worker.pruning.criteria.sparsegpt import SparseGpt
from worker.pruning.criteria.synflow import SynFlow
from worker.pruning.criteria.taylor import Taylor
from worker.pruning.criteria.wanda import Wanda
from worker.pruning.scoring import Criterion

__all__ = ["CRITERIA"]

CRITERIA: dict[CriterionName, Criterion] = {
    "random": Random(),
    "magnitude": Magnitude(),
    "batchnorm": BatchNorm(),
    "lamp": Lamp(),
    "fpgm": Fpgm(),
    "taylor": Taylor(),
    "fisher": Fisher(),
    "snip": Snip(),
    "synflow": SynFlow(),
    "grasp": Grasp(),
    "movement": Movement(),
    "wanda": Wanda(),
    "sparsegpt": SparseGpt(),
    "activation": Activation(),
}
