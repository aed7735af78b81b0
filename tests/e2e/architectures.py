"""Networks of very different kinds, as users upload them, each with data that it answers perfectly.

The weights are random: what these jobs show is that every kind goes through the whole service, not how well it trains.
The labels are what the network itself answers, so that its accuracy is 100 % and every change shows.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CASES", "Case"]

CLASSES = 4
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """`make()` gives the model file and the dataset file; `recipe` what to ask; `shrinks` the patterns of layers of
    which at least one has to lose channels."""

    make: Callable[[], tuple[bytes, bytes]]
    recipe: dict[str, Any]
    shrinks: tuple[str, ...]


class Bert(nn.Module):
    """Encoder layers with post-norm, separate projections, and a classifier on the first token."""

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
            self.output = nn.Linear(width, width)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.intermediate, self.dense = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.heads = heads

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            shape = (x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)
            query, key, value = (part(x).view(shape).transpose(1, 2) for part in (self.query, self.key, self.value))
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
            x = self.norm1(x + self.output(mixed.flatten(2)))
            return self.norm2(x + self.dense(F.gelu(self.intermediate(x))))

    def __init__(self, width: int = 32, heads: int = 4, tokens: int = 50) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(tokens, width), nn.Embedding(64, width)
        self.layers = nn.ModuleList(self.Layer(width, heads) for _ in range(2))
        self.classifier = nn.Linear(width, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        mask = attention_mask[:, None, None, :].bool()
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(x[:, 0])


class Llama(nn.Module):
    """Decoder layers with grouped queries, rotary positions, RMS norm and a gated MLP; the last token is classified."""

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int, groups: int) -> None:
            super().__init__()
            self.size, self.heads, self.groups = width // heads, heads, groups
            self.q_proj = nn.Linear(width, width, bias=False)
            self.k_proj, self.v_proj = (nn.Linear(width, groups * self.size, bias=False) for _ in range(2))
            self.o_proj = nn.Linear(width, width, bias=False)
            self.gate_proj, self.up_proj = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
            self.down_proj = nn.Linear(3 * width, width, bias=False)
            self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)

        def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            y = self.norm1(x)
            batch, length = x.shape[:2]
            query = self.rotated(self.q_proj(y).view(batch, length, self.heads, self.size).transpose(1, 2), cos, sin)
            key = self.rotated(self.k_proj(y).view(batch, length, self.groups, self.size).transpose(1, 2), cos, sin)
            value = self.v_proj(y).view(batch, length, self.groups, self.size).transpose(1, 2)
            key, value = (part.repeat_interleave(self.heads // self.groups, dim=1) for part in (key, value))
            mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + self.o_proj(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.size))
            y = self.norm2(x)
            return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))

        @staticmethod
        def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            half = x.shape[-1] // 2
            return x * cos + torch.cat((-x[..., half:], x[..., :half]), -1) * sin

    def __init__(self, width: int = 64, heads: int = 8, groups: int = 4, tokens: int = 50) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(tokens, width)
        self.layers = nn.ModuleList(self.Layer(width, heads, groups) for _ in range(2))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, CLASSES)
        size = width // heads
        self.register_buffer("frequencies", 1.0 / 10000 ** (torch.arange(0, size, 2) / size))

    def forward(self, input_ids: Tensor) -> Tensor:
        angles = torch.arange(input_ids.shape[1])[:, None] * self.frequencies
        cos, sin = (torch.cat((part, part), -1) for part in (angles.cos(), angles.sin()))
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.head(self.norm(x)[:, -1])


class Recurrent(nn.Module):
    """Two LSTM layers in both directions, and a classifier on the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 32, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class UNet(nn.Module):
    """Contracting and expanding path with concatenated skips and transposed convolutions; the output is an image."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down1, self.down2 = self.double(3, width), self.double(width, 2 * width)
        self.middle = self.double(2 * width, 4 * width)
        self.up2, self.up1 = (nn.ConvTranspose2d(f * width, f * width // 2, 2, 2) for f in (4, 2))
        self.merge2, self.merge1 = self.double(4 * width, 2 * width), self.double(2 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    @staticmethod
    def double(inputs: int, outputs: int) -> nn.Sequential:
        def conv(inputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

        return nn.Sequential(*conv(inputs), *conv(outputs))

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        deep = self.up2(self.middle(F.max_pool2d(second, 2)))
        up = self.up1(self.merge2(torch.cat((second, deep), 1)))
        return self.head(self.merge1(torch.cat((first, up), 1)))


class MobileNet(nn.Module):
    """Inverted bottlenecks with depthwise convolutions."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            hidden = 4 * inputs
            self.expand = self.conv(inputs, hidden, 1, 1, 1)
            self.depthwise = self.conv(hidden, hidden, 3, stride, hidden)
            self.project = self.conv(hidden, outputs, 1, 1, 1)
            self.skips = stride == 1 and inputs == outputs

        @staticmethod
        def conv(inputs: int, outputs: int, size: int, stride: int, groups: int) -> nn.Sequential:
            layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
            return nn.Sequential(layer, nn.BatchNorm2d(outputs))

        def forward(self, x: Tensor) -> Tensor:
            y = self.project(F.relu6(self.depthwise(F.relu6(self.expand(x)))))
            return x + y if self.skips else y

    def __init__(self) -> None:
        super().__init__()
        self.stem = self.Block.conv(3, 16, 3, 2, 1)
        self.blocks = nn.Sequential(self.Block(16, 16, 1), self.Block(16, 32, 2), self.Block(32, 32, 1))
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu6(self.stem(x))).mean((2, 3)))


def prepared(module: nn.Module) -> nn.Module:
    """Random statistics for batch norms, and small random scales and shifts: an identity would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
            elif name.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) * 0.1 + 0.05)
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval()


def files(
    module: nn.Module, arrays: dict[str, Tensor], *, onnx: bool = False, length: bool = False
) -> tuple[bytes, bytes]:
    """The model, exported with a free batch (and length), and a dataset labelled by it."""
    module = prepared(module)
    with torch.no_grad():
        answers = module(*arrays.values())
    classes = answers.dim() == 2
    labels = (answers - answers.mean(0)).argmax(1) if classes else answers.flatten(1)
    if classes:
        # Taking the mean off lets a random network tell all classes apart.
        with torch.no_grad():
            module.get_submodule("classifier" if hasattr(module, "classifier") else "head").bias -= answers.mean(0)
    example = tuple(array[:2] for array in arrays.values())
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=1024)}
    if length:
        axes[1] = torch.export.Dim("length", min=2, max=64)
    model = io.BytesIO()
    with warnings.catch_warnings():
        # torch calls one exporter deprecated, and the weights of its own recurrent layers unregistered.
        warnings.simplefilter("ignore")
        if onnx:
            torch.onnx.export(
                module, example, model, dynamo=False, opset_version=17, input_names=list(arrays),
                output_names=["logits"], dynamic_axes={name: {0: "batch"} for name in arrays},
            )  # fmt: skip
        else:
            torch.export.save(torch.export.export(module, example, dynamic_shapes=(axes,) * len(arrays)), model)
    data = io.BytesIO()
    stored: Arrays = {name: array.numpy() for name, array in arrays.items()}
    np.savez(data, labels=labels.numpy(), **stored)
    return model.getvalue(), data.getvalue()


def seeded() -> torch.Generator:
    torch.manual_seed(0)
    return torch.Generator().manual_seed(1)


def bert() -> tuple[bytes, bytes]:
    generator = seeded()
    lengths = torch.randint(4, 13, (400, 1), generator=generator)
    mask = (torch.arange(12) < lengths).long()
    words = torch.randint(0, 50, (400, 12), generator=generator)
    return files(Bert(), {"input_ids": words, "attention_mask": mask}, length=True)


def llama() -> tuple[bytes, bytes]:
    generator = seeded()
    return files(Llama(), {"input_ids": torch.randint(0, 50, (400, 12), generator=generator)}, length=True)


def lstm() -> tuple[bytes, bytes]:
    generator = seeded()
    return files(Recurrent(), {"x": torch.randn(400, 10, 6, generator=generator)})


def unet() -> tuple[bytes, bytes]:
    generator = seeded()
    return files(UNet(), {"x": torch.randn(200, 3, 16, 16, generator=generator)})


def mobilenet() -> tuple[bytes, bytes]:
    generator = seeded()
    return files(MobileNet(), {"x": torch.randn(400, 3, 32, 32, generator=generator)}, onnx=True)


QUICK = {"epochs": 1, "batch_size": 32}

CASES: dict[str, Case] = {
    "bert": Case(
        bert,
        {"target": {"macs": 0.6}, "prune": {"granularity": ["head", "neuron"]}, "finetune": QUICK},
        ("*.query", "*.intermediate"),
    ),
    "llama-gqa": Case(
        llama,
        {"target": {"macs": 0.85}, "prune": {"granularity": "head"}, "finetune": QUICK},
        ("*.k_proj",),
    ),
    "lstm": Case(lstm, {"target": {"params": 0.5}, "prune": {"round_to": 4}, "finetune": QUICK}, ("lstm*",)),
    "u-net": Case(unet, {"target": {"macs": 0.5}, "finetune": QUICK}, ("down*", "up*")),
    "mobilenet-v2-onnx": Case(mobilenet, {"target": {"macs": 0.5}, "finetune": QUICK}, ("*",)),
}
