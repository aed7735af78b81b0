"""Weights, buffers and constants: raw little-endian bytes plus a description, checked against each other."""

from collections.abc import Mapping

import torch
from torch import Tensor

from worker.errors import MalformedModel, UnsafeModel, UnsupportedModel
from worker.formats.advice import EXPORT_ADVICE
from worker.formats.pt2.archive import Pt2Archive
from worker.formats.pt2.schema import Payload, PayloadConfig, Size, TensorMeta, parse, parse_item

__all__ = ["DTYPES", "TensorTable"]

DTYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Numbers of dtypes in the file (torch's `ScalarType`). No complex numbers, no float8, no quantised types."""

_STRIDED = 7
_COPIES = 4
"""Payloads may be shared by names (tied weights, slices of one buffer), but not to swell: all tensors together have
at most this many times the bytes of the payloads."""


class TensorTable:
    """Tensors by the dotted name that the graph's signature uses, read when asked for."""

    def __init__(self, archive: Pt2Archive) -> None:
        self._archive = archive
        self._budget = _COPIES * archive.payload_bytes
        self._read: dict[tuple[str, int, tuple[int, ...], tuple[int, ...], int], str] = {}
        self._payloads: dict[str, tuple[str, Payload]] = {}
        for kind in ("weights", "constants"):
            config = f"data/{kind}/{archive.model_name}_{kind}_config.json"
            if kind == "constants" and config not in archive:
                continue
            for name, item in parse(PayloadConfig, config, archive.json_member(config)).config.items():
                payload = parse_item(Payload, f"{config}: {name[:80]}", item)
                if payload.use_pickle:
                    raise UnsafeModel(
                        f"{name} in data/{kind}/{payload.path_name} is stored as a pickle, which is a program. "
                        f"{EXPORT_ADVICE}"
                    )
                if name in self._payloads:
                    raise MalformedModel(f"{name} is both a weight and a constant")
                self._payloads[name] = (f"data/{kind}/{payload.path_name}", payload)

    def is_parameter(self, name: str) -> bool:
        """Whether `name` is a weight to train, as opposed to a statistic or a constant."""
        return self._payloads[name][1].is_param

    def read(self, name: str) -> tuple[str, Tensor | None]:
        """The tensor called `name`, contiguous, in memory of its own.

        Tied weights are one tensor: a name whose bytes and shape were read before is answered by that earlier name,
        with None.
        """
        if name not in self._payloads:
            raise MalformedModel(f"the graph uses the tensor {name}, but the archive does not hold it")
        member, payload = self._payloads[name]
        if payload.tensor_meta is None:
            raise MalformedModel(f"{name} has no description of its shape")
        dtype, sizes, strides, offset = _describe(name, payload.tensor_meta)
        key = (member, payload.tensor_meta.dtype, sizes, strides, offset)
        if (first := self._read.setdefault(key, name)) != name:
            return first, None
        numel = _numel(sizes)
        self._budget -= numel * dtype.itemsize
        if self._budget < 0:
            raise MalformedModel(f"{name}: the tensors of this file are far larger than the bytes they are made of")
        if numel == 0:
            return name, torch.zeros(sizes, dtype=dtype)
        size = self._archive.size_of(member)
        held = size // dtype.itemsize
        last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
        if size % dtype.itemsize or last >= held or numel > held:
            raise MalformedModel(
                f"{name} of shape {list(sizes)}, strides {list(strides)} and offset {offset} does not fit into the "
                f"{size:,} bytes of {member}"
            )
        payload_bytes = torch.empty(size, dtype=torch.uint8)
        self._archive.read_into(member, payload_bytes.numpy().data)
        tensor = payload_bytes.view(dtype).as_strided(sizes, strides, offset)
        alone = tensor.is_contiguous() and numel == held
        return name, tensor if alone else tensor.clone(memory_format=torch.contiguous_format)


def _describe(name: str, meta: TensorMeta) -> tuple[torch.dtype, tuple[int, ...], tuple[int, ...], int]:
    dtype = DTYPES.get(meta.dtype)
    if dtype is None:
        raise UnsupportedModel(f"{name} has dtype number {meta.dtype}; models are read in float32: use model.float()")
    if meta.layout != _STRIDED:
        raise UnsupportedModel(f"{name} is not a dense tensor (layout number {meta.layout})")
    sizes = tuple(_number(name, size) for size in meta.sizes)
    strides = tuple(_number(name, stride) for stride in meta.strides)
    if len(sizes) != len(strides):
        raise MalformedModel(f"{name} has {len(sizes)} sizes and {len(strides)} strides")
    return dtype, sizes, strides, _number(name, meta.storage_offset)


def _number(name: str, size: Size) -> int:
    if size.as_int is None:
        raise MalformedModel(f"{name} has a symbolic size; a stored tensor has fixed ones")
    return size.as_int


def _numel(sizes: tuple[int, ...]) -> int:
    numel = 1
    for size in sizes:
        numel *= size
    return numel
