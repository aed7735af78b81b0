"""Recurrent layers that no ONNX operator computes."""

import pytest
from torch import Tensor, nn

from tests.worker.networks import traced
from worker.errors import UnsupportedModel


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 16, batch_first=True, proj_size=6)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_an_lstm_with_projected_outputs_is_refused_before_a_job_is_spent_on_it() -> None:
    with pytest.raises(UnsupportedModel, match="proj_size"):
        traced(Projected(), 7, 8)
