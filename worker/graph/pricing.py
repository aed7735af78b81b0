"""What a selection costs: the ledger's terms and the parameters, as polynomials in what each group keeps."""

from collections import Counter

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csr_array

from worker.graph.cost import CostModel, Polynomial, Slot, Term, parameter_terms
from worker.graph.liveness import Liveness, Needs, factors_of
from worker.graph.network import Network
from worker.graph.propagation import Propagation
from worker.graph.slots import SlotTable
from worker.graph.tensors import tensors_of

__all__ = ["cost_model"]


def cost_model(
    network: Network,
    ledger: Propagation,
    table: SlotTable,
    kinds: list[npt.NDArray[np.int64]],
    liveness: Liveness,
    blocks: npt.NDArray[np.int64],
    batch: int,
) -> tuple[CostModel, tuple[Slot, ...]]:
    """The model and its slots. Groups are `kinds` and then one for each block, whose components are `blocks`.

    Each block has a slot of its own, of one entry that is there or not, which multiplies the cost of what lives for it
    alone. What several blocks share goes with the last of them: 1 − Π (1 − kept), where 1 − kept is a slot of its own
    again.
    """
    slots, count = len(table.slots), len(blocks)
    gate = _Gate(slots, count)
    macs = [
        part
        for term, node in zip(_mac_terms(network, ledger, table, batch), ledger.cost_nodes, strict=True)
        for part in gate.apply(term, liveness.nodes.get(node))
    ]
    sizes = {name: tensor.numel() for name, tensor in tensors_of(network.module).items()}
    names = {name: index for index, name in enumerate(sizes)}
    tensors = [
        part
        for name, term in zip(sizes, parameter_terms(sizes, table.slots, names, table.axes), strict=True)
        for part in gate.apply(term, liveness.parameters.get(name))
    ]
    layer_of = {name: index for index, name in enumerate(ledger.layers)}
    layer_of |= {bias: layer_of[weight] for bias, weight in ledger.biases.items()}
    owners = {names[name]: layer_of.get(name, -1) for name, _ in network.parameters()}
    params = [Term(term.coefficient, term.slots, owners[term.layer]) for term in tensors if term.layer in owners]
    calls = Counter(liveness.nodes.get(node.name) for node in network.module.graph.nodes if node.op == "call_function")
    nodes = [part for needs, number in calls.items() for part in gate.apply(Term(number, (), -1), needs)]
    total = slots + count + len(gate.absent)
    touched = table.touches[[members[0] for members in kinds]].tocoo() if kinds else coo_array((0, slots))
    blocks_at, absent = np.arange(count), np.array([*gate.absent.items()], dtype=np.intp).reshape(-1, 2)
    per_group = csr_array(
        (
            np.concatenate([touched.data, np.ones(count), -np.ones(len(absent))]).astype(np.float64),
            (
                np.concatenate([touched.col, slots + blocks_at, absent[:, 1]]),
                np.concatenate([touched.row, len(kinds) + blocks_at, len(kinds) + absent[:, 0]]),
            ),
        ),
        shape=(total, len(kinds) + count),
    )
    per_group.eliminate_zeros()
    base = np.zeros(total)
    base[:slots] = [len(slot.numbers) for slot in table.slots]
    base[:slots] -= per_group[:slots, : len(kinds)] @ np.array([len(members) for members in kinds], dtype=np.float64)
    base[absent[:, 1]] = 1.0
    nothing = np.zeros(0, dtype=np.int64)
    return (
        CostModel(
            base,
            per_group,
            macs=Polynomial.of(macs, total),
            params=Polynomial.of(params, total),
            tensors=Polynomial.of(tensors, total),
            tensor_names=tuple(names),
            nodes=Polynomial.of(nodes, total),
        ),
        (
            *table.slots,
            *(Slot(None, None, blocks[block : block + 1]) for block in range(count)),
            *(Slot(None, None, nothing) for _ in gate.absent),
        ),
    )


class _Gate:
    """Multiplies terms by the presence of blocks. `absent[b]` is the slot of 1 − kept of block b, where one is used."""

    def __init__(self, slots: int, blocks: int) -> None:
        self._present, self._next = slots, slots + blocks
        self.absent: dict[int, int] = {}

    def apply(self, term: Term, needs: Needs | None) -> list[Term]:
        """The term, there only where `needs` are met. Needs without an expression (`find_bypasses` leaves none of what
        costs) count as met."""
        groups = factors_of(needs) if needs is not None else None
        if groups is None:
            return [term]
        parts = [term]
        for group in groups:
            if len(group) == 1:
                parts = [_times(part, 1, (self._present + min(group),)) for part in parts]
            else:
                none = tuple(self._absent(block) for block in sorted(group))
                parts += [_times(part, -1, none) for part in parts]
        return parts

    def _absent(self, block: int) -> int:
        return self.absent.setdefault(block, self._next + len(self.absent))


def _times(term: Term, sign: int, slots: tuple[int, ...]) -> Term:
    return Term(sign * term.coefficient, (*term.slots, *slots), term.layer)


def _mac_terms(network: Network, ledger: Propagation, table: SlotTable, batch: int) -> list[Term]:
    """One for each of the ledger's costs."""
    owner = {name: index for index, name in enumerate(ledger.layers)}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors_of(network.module).items()}
    terms = []
    for cost in ledger.costs:
        coefficient, factors = cost.coefficient / batch, []
        for factor in cost.factors:
            slot = table.find(*factor) if isinstance(factor, tuple) else table.pieces[factor.tobytes()]
            if slot is not None:
                factors.append(slot)
            elif isinstance(factor, tuple):
                coefficient *= shapes[factor[0]][factor[1]]
        terms.append(Term(coefficient, tuple(factors), owner.get(cost.layer or "", -1)))
    return terms
