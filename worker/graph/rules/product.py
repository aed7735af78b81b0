"""Linear layers, matrix products and equations, as contractions over named axes."""

from string import ascii_letters

from worker.graph.rules.contraction import Factor, contract, rearrange
from worker.graph.rules.layer import add_bias
from worker.graph.rules.meeting import adopt, meet
from worker.graph.rules.registry import Op, rule
from worker.graph.values import Flow, Value, Weight

__all__: list[str] = []

_BATCH = ascii_letters[:-4]


def _factor(op: Op, name: str, letters: str) -> Factor:
    flow = op.flow(name)
    assert isinstance(flow, Value | Weight)
    return Factor(flow, letters, op.arguments[name].name)


def _rank(op: Op, name: str) -> int:
    flow = op.flow(name)
    assert isinstance(flow, Value | Weight)
    return len(flow.shape)


@rule("linear.default")
def _linear(op: Op) -> Flow:
    batch = _BATCH[: _rank(op, "input") - 1]
    result = contract(op, _factor(op, "input", batch + "y"), _factor(op, "weight", "zy"), batch + "z")
    return add_bias(op, op.weight("weight"), result, len(result.shape) - 1)


@rule("addmm.default")
def _affine(op: Op) -> Flow:
    product = contract(op, _factor(op, "mat1", "xy"), _factor(op, "mat2", "yz"), "xz")
    return _added(op, product)


@rule("baddbmm.default")
def _batched_affine(op: Op) -> Flow:
    product = contract(op, _factor(op, "batch1", "axy"), _factor(op, "batch2", "ayz"), "axz")
    return _added(op, product)


@rule("addmv.default")
def _affine_vector(op: Op) -> Flow:
    return _added(op, contract(op, _factor(op, "mat", "xy"), _factor(op, "vec", "y"), "x"))


def _added(op: Op, product: Value) -> Value:
    """`self`, times a number, is added to the product, times another."""
    own = op.flow("self")
    if isinstance(own, Weight) and len(own.shape) == 1:
        return add_bias(op, op.weight("mat2"), product, len(product.shape) - 1, "self")
    if isinstance(own, Weight):
        return adopt(op.ledger, own, product)
    return meet(op.ledger, [op.as_value(own), product], product.shape)


@rule("mm.default", "matmul.default", "bmm.default", "mv.default", "dot.default", "vdot.default")
def _product(op: Op) -> Flow:
    names = list(op.arguments)
    left, right = (_rank(op, name) for name in names[:2])
    batch = _BATCH[: max(left, right, 2) - 2]
    first = "y" if left == 1 else batch[len(batch) - left + 2 :] + "xy"
    second = "y" if right == 1 else batch[len(batch) - right + 2 :] + "yz"
    out = (batch if max(left, right) > 2 else "") + ("x" if left > 1 else "") + ("z" if right > 1 else "")
    return contract(op, _factor(op, names[0], first), _factor(op, names[1], second), out)


@rule("outer.default", "inner.default")
def _outer(op: Op) -> Flow:
    names = list(op.arguments)
    left, right = (_rank(op, name) for name in names[:2])
    summed = "y" if "inner" in op.name else ""
    first, second = _BATCH[: left - len(summed)], _BATCH[20 : 20 + right - len(summed)]
    return contract(op, _factor(op, names[0], first + summed), _factor(op, names[1], second + summed), first + second)


@rule("tensordot.default")
def _tensordot(op: Op) -> Flow:
    left, right = _rank(op, "self"), _rank(op, "other")
    first, second = list(_BATCH[:left]), list(_BATCH[20 : 20 + right])
    axes = zip(op.constant("dims_self"), op.constant("dims_other"), strict=True)
    for own, others in [(own % left, others % right) for own, others in axes]:
        second[others] = first[own]
    shared = set(first) & set(second)
    out = "".join(letter for letter in first + second if letter not in shared)
    return contract(op, _factor(op, "self", "".join(first)), _factor(op, "other", "".join(second)), out)


@rule("cdist.default", "_euclidean_dist.default")
def _distances(op: Op) -> Flow:
    left, right = (op.value(name) for name in ("x1", "x2"))
    if op.constant("p", 2.0) == 0:
        return op.unknown("entries that differ are counted")
    batch = _BATCH[: max(len(left.shape), len(right.shape)) - 2]
    first = Factor(left, batch[len(batch) - len(left.shape) + 2 :] + "xy")
    second = Factor(right, batch[len(batch) - len(right.shape) + 2 :] + "zy")
    return contract(op, first, second, batch + "xz")


@rule("einsum.default")
def _einsum(op: Op) -> Flow:
    """Operands are multiplied from left to right; a letter is summed over once nothing after needs it."""
    nodes = op.arguments["tensors"]
    flows = [op.flows.get(node) for node in nodes]
    ranks = [len(flow.shape) for flow in flows if isinstance(flow, Value | Weight)]
    inputs, out = equation(op.arguments["equation"], ranks)
    if any(len(set(letters)) < len(letters) for letters in inputs):
        return op.unknown("an equation takes a diagonal")
    factors = [
        Factor(flow, letters, node.name)
        for flow, letters, node in zip(flows, inputs, nodes, strict=True)
        if isinstance(flow, Value | Weight)
    ]
    if len(factors) == 1:
        return rearrange(op, factors[0], out)
    done = factors[0]
    for position, factor in enumerate(factors[1:], start=1):
        later = out + "".join(inputs[position + 1 :])
        kept = "".join(dict.fromkeys(letter for letter in done.letters + factor.letters if letter in later))
        kept = out if position == len(factors) - 1 else kept
        done = Factor(contract(op, done, factor, kept), kept)
    return done.flow


def equation(text: str, ranks: list[int]) -> tuple[list[str], str]:
    """Letters of each operand and of the result of an equation of `einsum`. Axes behind `...` get letters of their own,
    counted from the right."""
    text = text.replace(" ", "")
    left, arrow, out = text.partition("->")
    operands = left.split(",")
    hidden = [rank - len(operand.replace("...", "")) if "..." in operand else 0
              for operand, rank in zip(operands, ranks, strict=True)]  # fmt: skip
    free = [letter for letter in ascii_letters if letter not in text]
    dots = "".join(free[: max(hidden)])
    inputs = [
        operand.replace("...", dots[len(dots) - count :]) for operand, count in zip(operands, hidden, strict=True)
    ]
    if not arrow:
        once = sorted(letter for letter in set(left) if letter.isalpha() and left.count(letter) == 1)
        return inputs, dots + "".join(once)
    return inputs, out.replace("...", dots)
