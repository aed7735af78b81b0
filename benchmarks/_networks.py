"""Networks of the sizes that people use, with random weights, and how each is exported."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from _machine import missing
from torch import Tensor, nn
from torch.nn import functional

from tests.worker.zoo_example import Example, made
from tests.worker.zoo_real import Answers, Tokens, hugging, vision

__all__ = ["NETWORKS", "Entry"]


@dataclass(frozen=True)
class Entry:
    """`make` builds the example. `packages` are what it needs, and `size` says how large it is."""

    make: Callable[[], Example]
    size: str
    transformer: bool = False
    packages: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        return missing(*self.packages)


class _Block(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(before, width, 1, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """He et al., CVPR 2016, §4.2, with projections for shortcuts: 6n + 2 layers of width 16, 32 and 64."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [width for width in (16, 32, 64) for _ in range((depth - 2) // 6)]
        self.layers = nn.Sequential(*map(_Block, [16, *widths], widths))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(functional.relu(self.bn1(self.conv1(x))))
        return self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def _cifar(depth: int) -> Entry:
    return Entry(made(partial(CifarResNet, depth), lambda: (torch.randn(2, 3, 32, 32),)), "3x32x32")


def _vision(name: str, size: int = 224, *, transformer: bool = False) -> Entry:
    return Entry(vision(name, size), f"3x{size}x{size}", transformer, ("torchvision",))


def _text(make: Callable[[], nn.Module], size: str, words: int, *, masked: bool = False, length: int = 32) -> Entry:
    def inputs() -> tuple[Tensor, ...]:
        text = torch.randint(0, words, (2, length))
        return (text, torch.ones_like(text)) if masked else (text,)

    return Entry(made(make, inputs, free=(1,)), f"{size}, {length} tokens", True, ("transformers",))


_LLAMA = {
    "vocab_size": 8000, "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 1376, "max_position_embeddings": 256,
}  # fmt: skip

NETWORKS: dict[str, Entry] = {
    "resnet20": _cifar(20),
    "resnet56": _cifar(56),
    **{
        name: _vision(name)
        for name in (
            *("resnet18", "resnet50", "vgg16_bn", "mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0"),
            *("regnet_y_400mf", "densenet121", "convnext_tiny"),
        )
    },
    "swin_t": _vision("swin_t", transformer=True),
    "vit_b_16": _vision("vit_b_16", transformer=True),
    "bert": _text(
        hugging(Answers, "BertForSequenceClassification", "BertConfig"), "12 layers of 768", 30_000, masked=True
    ),
    "gpt2": _text(hugging(Tokens, "GPT2LMHeadModel", "GPT2Config"), "12 layers of 768", 50_000),
    "llama": _text(hugging(Tokens, "LlamaForCausalLM", "LlamaConfig", **_LLAMA), "8 layers of 512, 8/2 heads", 8_000),
}
