"""Optimal Brain Surgeon, layer by layer: what a removal costs the layer's output, and how the rest makes up for it.

For one output w of a layer with inputs x and `H = E[x xᵀ]`, the output error of a change δ is `δᵀ H δ`. Setting w_q to
zero at the least error changes the others by `−w_q / [H⁻¹]_qq · H⁻¹_:q`, at a cost of `w_q² / [H⁻¹]_qq`: Hassibi and
Stork, Second order derivatives for network pruning: Optimal Brain Surgeon, NIPS 1992, eq. 5.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["as_rows", "inverse_of", "repaired", "unit_costs", "weight_costs", "without_masked"]

# Share of the mean of the diagonal that is added to it: inputs that are copies of each other have no inverse.
_DAMPING = 1e-2
_BLOCK = 128


def inverse_of(moment: Tensor) -> Tensor:
    """H⁻¹ of the damped moments, (K, K), float64. Inputs that are always zero get a unit diagonal."""
    damped = moment.double().clone()
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1.0
    damped.diagonal().add_(_DAMPING * damped.diagonal().mean())
    return torch.cholesky_inverse(torch.linalg.cholesky(damped))


def weight_costs(rows: Tensor, inverse: Tensor) -> Tensor:
    """`w² / [H⁻¹]_qq`, (outputs, K), for weights `rows` of that shape."""
    return rows.double().square() / inverse.diagonal()


def unit_costs(rows: Tensor, inverse: Tensor, positions: Tensor) -> Tensor:
    """(units,): output error when the inputs of a unit go together and the rest makes up for it, summed over outputs.

    `positions` (units, s) are the columns of each unit. `Σ_i w_iS ([H⁻¹]_SS)⁻¹ w_iSᵀ`: Kurtic et al., ZipLM: Inference-
    Aware Structured Pruning of Language Models, NeurIPS 2023, eq. 4.
    """
    blocks = inverse[positions[:, :, None], positions[:, None, :]]
    weights = rows.double()[:, positions].permute(1, 2, 0)  # (units, s, outputs)
    solved = torch.linalg.solve(blocks, weights)
    costs: Tensor = (weights * solved).sum((1, 2))
    return costs


def without_masked(rows: Tensor, inverse: Tensor, mask: Tensor) -> Tensor:
    """`rows`, (outputs, K), with zeros where `mask` is False, and what is left changed to answer for them.

    Columns are taken from left to right, each repairing those to its right: Frantar and Alistarh, SparseGPT, ICML 2023,
    algorithm 1, with a mask that is chosen beforehand.
    """
    upper = torch.linalg.cholesky(inverse, upper=True)
    weights = rows.double().clone()
    gone = ~mask
    for start in range(0, weights.shape[1], _BLOCK):
        stop = min(start + _BLOCK, weights.shape[1])
        errors = torch.zeros(len(weights), stop - start, dtype=torch.float64)
        for column in range(start, stop):
            error = torch.where(gone[:, column], weights[:, column], 0.0) / upper[column, column]
            weights[:, column:stop] -= error[:, None] * upper[column, column:stop]
            errors[:, column - start] = error
        weights[:, stop:] -= errors @ upper[start:stop, stop:]
    return weights.masked_fill(gone, 0.0).to(rows.dtype)


def as_rows(weight: Tensor, output_axis: int) -> Tensor:
    """(outputs, K): the weight with one row for each output, entries in their order."""
    return weight.movedim(output_axis, 0).reshape(weight.shape[output_axis], -1)


def repaired(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], moments: Mapping[str, Tensor], axes: Mapping[str, int]
) -> dict[str, Tensor]:
    """The masked weights, by name, each changed by `without_masked` where its inputs were measured."""
    found = {}
    for name, mask in masks.items():
        weight, axis = weights[name], axes[name]
        moved = weight.movedim(axis, 0)
        if name in moments:
            rows = without_masked(as_rows(weight, axis), inverse_of(moments[name]), as_rows(mask, axis))
            found[name] = rows.reshape(moved.shape).movedim(0, axis).contiguous()
        else:
            found[name] = weight.masked_fill(~mask, 0.0)
    return found
