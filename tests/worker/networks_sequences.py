"""Small recurrent networks. Random weights."""

import torch
from torch import Tensor, nn

__all__ = ["GRU", "LSTM", "Seq2Seq", "StackedLSTM"]


class LSTM(nn.Module):
    """Tokens, one layer, the state after the last one is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.rnn = nn.Embedding(30, 12), nn.LSTM(12, 20, batch_first=True)
        self.head = nn.Linear(20, 4)

    def forward(self, ids: Tensor) -> Tensor:
        _, (hidden, _) = self.rnn(self.words(ids))
        return self.head(hidden[-1])


class StackedLSTM(nn.Module):
    """Three layers in both directions; every step is read through attention weights."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.rnn = nn.Linear(6, 16), nn.LSTM(16, 12, 3, batch_first=True, bidirectional=True, dropout=0.1)
        self.score, self.head = nn.Linear(24, 1), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(torch.tanh(self.into(x)))
        return self.head((y * self.score(y).softmax(1)).sum(1))


class GRU(nn.Module):
    """Two layers in both directions, time first, the last step is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.rnn = nn.Linear(6, 16), nn.GRU(16, 12, 2, bidirectional=True)
        self.head = nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(torch.relu(self.into(x)).transpose(0, 1))
        return self.head(y[-1])


class Seq2Seq(nn.Module):
    """An encoder whose last states start the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.answers = nn.Embedding(30, 12), nn.Embedding(20, 10)
        self.encoder, self.decoder = nn.LSTM(12, 16, 2, batch_first=True), nn.LSTM(10, 16, 2, batch_first=True)
        self.head = nn.Linear(16, 20)

    def forward(self, ids: Tensor, answers: Tensor) -> Tensor:
        _, state = self.encoder(self.words(ids))
        return self.head(self.decoder(self.answers(answers), state)[0])
