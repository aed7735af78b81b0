"""Products of matrices."""

import torch
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import tensor_op

__all__ = ["gemm", "matmul"]


@tensor_op("Gemm")
def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha · a · b + beta · c."""
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    left = a.t() if node.integer("transA", 0) else a
    weight = b if node.integer("transB", 0) else b.t()
    if alpha == 1.0 and (c is None or (beta == 1.0 and c.shape == weight.shape[:1])):
        return functional.linear(left, weight, c)
    product = functional.linear(left, weight) * alpha
    return product if c is None else product + c * beta


@tensor_op("Einsum")
def einsum(node: Node, *operands: Tensor) -> Tensor:
    return torch.einsum(node.text("equation"), *operands)


@tensor_op("MatMul")
def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """`transB` is no attribute of ONNX: `storage` sets it where `b` is kept as the (out, in) weight of a layer."""
    return functional.linear(a, b) if node.integer("transB", 0) else torch.matmul(a, b)
