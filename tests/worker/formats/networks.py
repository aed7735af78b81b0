"""Small networks with the patterns that real ones are made of."""

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class PaddedShortcut(nn.Module):
    """A stage of a CIFAR ResNet: strided slice and zero padding as shortcut, in-place addition and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, 2, padding=1), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        y += functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
        y = functional.avg_pool2d(functional.relu_(y), 4)
        return self.fc(y.view(y.size(0), -1))


class InvertedResidual(nn.Module):
    """MobileNet's block with depthwise convolution, squeeze and excitation, in-place activations and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(inplace=True),
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.Hardswish(inplace=True),
            nn.Conv2d(12, 3, 1),
        )
        self.excite = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.SiLU(inplace=True), nn.Conv2d(4, 3, 1), nn.Sigmoid()
        )
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.fc(self.dropout((x + y * self.excite(y)).mean((2, 3))))


class Shuffle(nn.Module):
    """ShuffleNet's split, concatenation and channel shuffle, with sizes computed from the input, and group norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.norm, self.fc = nn.GroupNorm(2, 8), nn.Linear(8 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.fc(functional.max_pool2d(self.norm(x), 2).flatten(1))


class Attention(nn.Module):
    """A transformer layer with a learnt position."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 6, 16))
        self.encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x + self.position).mean(1))


class Mixture(nn.Module):
    """Constants, non-persistent buffers, an index, a `no_grad` block, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(288, 4)
        self.register_buffer("scale", torch.arange(3).float(), persistent=False)
        self.register_buffer("order", torch.tensor([0, 2, 1]))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = (x * self.scale.view(1, 3, 1, 1))[:, self.order]
        with torch.no_grad():
            shift = x.mean() * torch.tensor(2.0)
        y = functional.relu_(self.bn(self.conv(x)) + shift)
        first, second = y.chunk(2, 1)
        y = torch.cat([second, first], 1)
        y += 1
        n = x.shape[0]
        return {"logits": self.fc(y.view(n * 2, 4, 6, 6).reshape(n, -1)), "sum": y.sum((1, 2, 3))}


class Tied(nn.Module):
    """Two inputs, and one weight under two names. An input is called like a Python builtin."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.out = nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, ids: Tensor, input: Tensor) -> Tensor:
        return self.out(functional.gelu(self.mix(self.embed(ids) + input)))


class Concatenated(nn.Module):
    """DenseNet's pre-activation and concatenation, a transposed convolution, flatten into the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3, padding=1)
        self.up, self.fc = nn.ConvTranspose2d(8, 4, 2, 2), nn.Linear(4 * 16 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([x, self.conv(functional.relu(self.bn(x), inplace=True))], 1)
        return self.fc(torch.flatten(self.up(y), 1))


IMAGE = (torch.zeros(2, 3, 8, 8),)
NETWORKS: dict[str, tuple[type[nn.Module], tuple[Tensor, ...]]] = {
    "padded shortcut": (PaddedShortcut, IMAGE),
    "inverted residual": (InvertedResidual, IMAGE),
    "shuffle": (Shuffle, IMAGE),
    "attention": (Attention, (torch.zeros(2, 6, 16),)),
    "mixture": (Mixture, IMAGE),
    "tied": (Tied, (torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 4, 8))),
    "concatenated": (Concatenated, IMAGE),
}


def build(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A network with weights and batch norm statistics that are nowhere trivial, and example inputs for it."""
    torch.manual_seed(0)
    kind, example = NETWORKS[name]
    module = kind()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    return module, example


def samples(example: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(
        torch.randn(batch, *tensor.shape[1:], generator=generator)
        if tensor.is_floating_point()
        else torch.randint(0, 11, (batch, *tensor.shape[1:]), generator=generator)
        for tensor in example
    )
