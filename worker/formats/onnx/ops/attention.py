"""Attention and rotary positions as ops of their own, as opset 23 has them."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from worker.formats.onnx.node import Node
from worker.formats.onnx.values import Value, as_tensor, tensor_op

__all__ = ["attention", "rotary_embedding"]


@tensor_op("Attention")
def attention(
    node: Node, query: Tensor, key: Tensor, value: Tensor, mask: Value | None = None, *past: Value | None
) -> Tensor:
    if any(tensor is not None for tensor in past) or any(node.outputs[1:]):
        raise node.refuse("keeps keys and values between calls; export without a cache (use_cache=False)")
    if node.attributes.get("softcap"):
        raise node.refuse("caps its scores")
    flat = query.ndim == 3
    if flat:  # (batch, length, heads · width)
        query = _heads(query, node.integer("q_num_heads"))
        key, value = (_heads(x, node.integer("kv_num_heads")) for x in (key, value))
    scale: Any = node.attributes.get("scale")
    mixed = functional.scaled_dot_product_attention(
        query, key, value, None if mask is None else as_tensor(mask), is_causal=bool(node.integer("is_causal", 0)),
        scale=scale, enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    return mixed.transpose(1, 2).flatten(2) if flat else mixed


def _heads(x: Tensor, count: int) -> Tensor:
    heads: Tensor = x.unflatten(2, (count, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
    return heads


@tensor_op("RotaryEmbedding")
def rotary_embedding(node: Node, x: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> Tensor:
    """Rotates the first `rotary_embedding_dim` of the width of each head; (batch, heads, length, width)."""
    flat = x.ndim == 3
    if flat:
        x = _heads(x, node.integer("num_heads"))
    if positions is not None:  # tables of all positions
        cos, sin = (functional.embedding(positions, table) for table in (cos, sin))
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
    size = node.integer("rotary_embedding_dim", 0) or x.shape[-1]
    turned, rest = x[..., :size], x[..., size:]
    if node.integer("interleaved", 0):
        first, second = turned[..., 0::2], turned[..., 1::2]
        pair = (first * cos - second * sin, first * sin + second * cos)
        turned = torch.stack(pair, -1).flatten(-2)
    else:
        first, second = turned[..., : size // 2], turned[..., size // 2 :]
        turned = torch.cat((first * cos - second * sin, first * sin + second * cos), -1)
    result = turned if size == x.shape[-1] else torch.cat((turned, rest), -1)
    return result.transpose(1, 2).flatten(2) if flat else result
