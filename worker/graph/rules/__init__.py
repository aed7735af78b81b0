"""How labels pass through each family of ops. `registry` explains how to add one."""

from worker.graph.rules import (
    attention,
    constant,
    convolution,
    embedding,
    joining,
    normalization,
    picking,
    pointwise,
    pooling,
    product,
    recurrent,
    reduction,
    shape,
)
from worker.graph.rules.registry import Op, Removal, find_rewrite, find_rule

__all__ = [
    "Op",
    "Removal",
    "attention",
    "constant",
    "convolution",
    "embedding",
    "find_rewrite",
    "find_rule",
    "joining",
    "normalization",
    "picking",
    "pointwise",
    "pooling",
    "product",
    "recurrent",
    "reduction",
    "shape",
]
