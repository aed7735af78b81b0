"""Names of parameters: those of the file where it has any, made into dotted names that torch accepts."""

import re

from torch import fx, nn

from worker.formats.onnx.node import Node

__all__ = ["Names", "layer_of"]

_ROLES: dict[str, tuple[str, ...]] = {
    "Conv": ("", "weight", "bias"),
    "ConvTranspose": ("", "weight", "bias"),
    "Gemm": ("weight", "weight", "bias"),
    "MatMul": ("weight", "weight"),
    "BatchNormalization": ("", "weight", "bias", "running_mean", "running_var"),
    "InstanceNormalization": ("", "weight", "bias"),
    "LayerNormalization": ("", "weight", "bias"),
    "GroupNormalization": ("", "weight", "bias"),
    "PRelu": ("", "weight"),
    "Gather": ("weight",),
    "Mul": ("weight", "weight"),
    "Add": ("bias", "bias"),
}
_TAKEN = (
    frozenset(dir(nn.Module))
    | frozenset(dir(fx.GraphModule))
    | {"_graph", "_interpreter", "_parameters", "_buffers", "_modules"}
)
_MAX_LENGTH = 200


def layer_of(node: Node, initializer: str) -> str:
    """The layer that `initializer` belongs to: `layer1.0.conv1` for `layer1.0.conv1.weight`.

    The TorchScript exporter renames folded weights (`onnx::Conv_193`), but its node names hold the path of modules
    (`/layer1/layer1.0/conv1/Conv`), in which a child of a Sequential repeats the name of its parent.
    """
    stem, dot, role = initializer.rpartition(".")
    if dot and role in ("weight", "bias", "running_mean", "running_var"):
        return stem
    layer = ""
    for part in node.name.strip("/").split("/")[:-1] if node.name.startswith("/") else ():
        parent = layer.rpartition(".")[2]
        if layer and part.startswith((parent + ".", layer + ".")):
            layer = layer[: len(layer) - len(parent)] + part if part.startswith(parent + ".") else part
        else:
            layer = f"{layer}.{part}" if layer else part
    return layer


class Names:
    """Hands out each name once."""

    def __init__(self) -> None:
        self._given: set[str] = set()
        self._prefixes: set[str] = set()

    def parameter(self, node: Node, position: int, initializer: str, layer: str, *, shared: bool) -> str:
        """A name for the constant `initializer`, input `position` of `node`, a node of `layer`.

        `shared` constants serve several layers, and so their names say nothing: the exporters store equal vectors once.
        """
        roles = _ROLES.get(node.op_type, ())
        role = roles[position] if position < len(roles) else ""
        anonymous = "::" in initializer or "/" in initializer or re.fullmatch(r"(val_)?\d*", initializer) is not None
        folded = initializer.endswith(("_bias", "_weight")) and role == "bias"  # conv1.weight_bias: a folded batch norm
        if role and layer and (anonymous or folded or shared):
            return self.unique(f"{layer}.{role}")
        if role and anonymous:
            return self.unique(f"{node.op_type.lower()}_{node.index}.{role}")
        return self.unique(initializer)

    def unique(self, wanted: str) -> str:
        """`wanted` as a dotted name that no other name equals, begins or continues."""
        parts = [re.sub(r"\W", "_", part, flags=re.ASCII) for part in wanted[:_MAX_LENGTH].split(".")]
        parts = [f"{part}_" if part in _TAKEN or part.startswith("__") else part for part in parts if part]
        stem = ".".join(parts) or "constant"
        name, count = stem, 1
        while not self._free(name):
            count += 1
            head, dot, tail = stem.rpartition(".")
            name = f"{head}_{count}.{tail}" if dot else f"{stem}_{count}"
        self._given.add(name)
        pieces = name.split(".")
        self._prefixes.update(".".join(pieces[:length]) for length in range(1, len(pieces)))
        return name

    def _free(self, name: str) -> bool:
        pieces = name.split(".")
        prefixes = (".".join(pieces[:length]) for length in range(1, len(pieces)))
        return name not in self._given and name not in self._prefixes and not self._given.intersection(prefixes)
