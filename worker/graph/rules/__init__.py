"""How labels pass through each family of ops. `registry` explains how to add one."""

from worker.graph.rules import attention, contraction, joining, normalization, pointwise, pooling, reduction, shape
from worker.graph.rules.registry import Op, Removal, find_rewrite, find_rule

__all__ = [
    "Op",
    "Removal",
    "attention",
    "contraction",
    "find_rewrite",
    "find_rule",
    "joining",
    "normalization",
    "pointwise",
    "pooling",
    "reduction",
    "shape",
]
