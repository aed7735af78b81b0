"""Which inputs index a table, and how many rows it has."""

import torch
from torch import Tensor, nn

from worker.graph.traced import from_exported
from worker.graph.vocabulary import with_table_rows


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds, self.head = nn.Embedding(50, 8), nn.Embedding(7, 8), nn.Linear(8, 3)

    def forward(self, words: Tensor, again: Tensor, weights: Tensor, number: Tensor) -> Tensor:
        mixed = self.words(words) + self.kinds(again.to(torch.int64)) + self.words(again.to(torch.int64))
        return self.head((mixed * weights.unsqueeze(2)).mean(1)) + number


def test_the_smallest_table_bounds_the_ids_of_an_input_and_other_inputs_have_none() -> None:
    ids = torch.zeros(2, 4, dtype=torch.int64)
    example = (ids, ids.int(), torch.ones(2, 4), torch.ones(2, 1, dtype=torch.int64))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Tokens().eval(), example, dynamic_shapes=({0: batch},) * 4)
    network = with_table_rows(from_exported(program))
    assert [spec.table_rows for spec in network.inputs] == [50, 7, None, None]
