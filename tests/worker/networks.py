"""Small networks with the structures that pruning has to get right. Random weights, no zero-initialised heads."""

import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worker.graph.network import Network
from worker.graph.traced import from_exported

__all__ = ["NETWORKS", "traced"]


def traced(module: nn.Module, *shape: int, dynamic: bool = True, decompose: bool = False) -> Network:
    """`module` in eval mode, with batch norm statistics that are not the identity, as a network."""
    generator = torch.Generator().manual_seed(0)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
        elif name.endswith("running_var"):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    for parameter in module.parameters():
        if parameter.dim() == 1:
            # Scales and shifts that are 1 and 0 would hide a wrong index.
            with torch.no_grad():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    batch = {0: torch.export.Dim("batch", min=1, max=1024)} if dynamic else None
    program = torch.export.export(module.eval(), (torch.randn(2, *shape),), dynamic_shapes=(batch,))
    if decompose:
        with warnings.catch_warnings():
            # torch 2.13 copies its own deprecated LeafSpec.
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec", FutureWarning)
            program = program.run_decompositions({})
    return from_exported(program)


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class PaddedBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.extra = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.extra:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.extra // 2, self.extra // 2))
        return F.relu(y + x)


class PaddedResNet(nn.Module):
    """Option A of He et al.: shortcuts that are strided slices padded with zero channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(PaddedBlock(16, 16, 1), PaddedBlock(16, 32, 2), PaddedBlock(32, 64, 2))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.bn1(self.conv1(x))))
        return self.linear(F.avg_pool2d(x, x.size(3)).view(x.size(0), -1))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, outputs: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.a, self.b = conv_bn(inputs, width, 1), conv_bn(width, width, 3, stride, groups)
        self.c = conv_bn(width, outputs, 1)
        self.shortcut = conv_bn(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.c(torch.relu_(self.b(torch.relu_(self.a(x)))))
        y += self.shortcut(x)
        return torch.relu_(y)


class ConvResNet(nn.Module):
    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16, 3, 2)
        self.stages = nn.Sequential(
            Bottleneck(16, 32, 64, 1, groups), Bottleneck(64, 32, 64, 1, groups), Bottleneck(64, 64, 96, 2, groups)
        )
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.stem(x)), 2)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(self.stages(x), 1), 1))


class VGG(nn.Module):
    """A classifier on flattened channels × positions."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(3),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Linear(32 * 9, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.view(-1, 32 * 9))


class Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, squeeze: bool, act: type[nn.Module]) -> None:
        super().__init__()
        wide = inputs * 4
        self.expand, self.depthwise = conv_bn(inputs, wide, 1), conv_bn(wide, wide, 3, stride, wide)
        self.project, self.act = conv_bn(wide, outputs, 1), act()
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(wide, 16, 1), act(), nn.Conv2d(16, wide, 1), nn.Sigmoid()
        ) if squeeze else None  # fmt: skip
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.depthwise(self.act(self.expand(x))))
        if self.squeeze is not None:
            y = y * self.squeeze(y)
        y = self.project(y)
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """Inverted bottlenecks: MobileNetV2 without, EfficientNet and MobileNetV3 with squeeze-and-excitation."""

    def __init__(self, squeeze: bool, act: type[nn.Module]) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16, 3, 2)
        self.blocks = nn.Sequential(
            Inverted(16, 16, 1, squeeze, act), Inverted(16, 24, 2, squeeze, act), Inverted(24, 24, 1, squeeze, act)
        )
        self.last, self.act = conv_bn(24, 64, 1), act()
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.last(self.blocks(self.act(self.stem(x)))))
        return self.head(x.mean([2, 3]))


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(16 + 16 * i) for i in range(3))
        self.convs = nn.ModuleList(nn.Conv2d(16 + 16 * i, 16, 3, padding=1) for i in range(3))
        self.transition = conv_bn(64, 32, 1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=True):
            features.append(conv(F.relu(norm(torch.cat(features, 1)))))
        x = F.avg_pool2d(self.transition(torch.cat(features, 1)), 2)
        return self.head(F.relu(x).mean((2, 3)))


class ShuffleUnit(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.a, self.b, self.c = conv_bn(half, half, 1), conv_bn(half, half, 3, 1, half), conv_bn(half, half, 1)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        right = F.relu(self.c(self.b(F.relu(self.a(right)))))
        y = torch.cat((left, right), 1)
        n, c, h, w = y.size()
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class ShuffleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 64, 3, 2)
        self.units = nn.Sequential(ShuffleUnit(64), ShuffleUnit(64))
        self.last = conv_bn(64, 64, 1)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.last(self.units(F.relu(self.stem(x))))).mean([2, 3]))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(20, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 48), nn.Tanh(), nn.Linear(48, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class GroupNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(3, 64, 3, padding=1), nn.GroupNorm(8, 64)
        self.b, self.nb = nn.Conv2d(64, 64, 3, padding=1), nn.GroupNorm(2, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.nb(self.b(F.relu(self.na(self.a(x)))))).mean([2, 3]))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, 32, 8, 8), nn.Parameter(torch.randn(1, 1, 32))
        self.position = nn.Parameter(torch.randn(1, 17, 32))
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96), nn.Linear(32, 32)
        self.up, self.down, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.size(0), -1, -1), x), 1) + self.position
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        a = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c)
        x = x + self.out(a)
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(x[:, 0])


_MAKERS = {
    "padded-resnet": lambda: traced(PaddedResNet(), 3, 32, 32),
    "conv-resnet": lambda: traced(ConvResNet(), 3, 32, 32),
    "grouped-resnet": lambda: traced(ConvResNet(groups=4), 3, 32, 32),
    "vgg": lambda: traced(VGG(), 3, 16, 16),
    "mobilenet-v2": lambda: traced(MobileNet(False, nn.ReLU6), 3, 32, 32),
    "efficientnet": lambda: traced(MobileNet(True, nn.SiLU), 3, 32, 32),
    "mobilenet-v3": lambda: traced(MobileNet(True, nn.Hardswish), 3, 32, 32),
    "densenet": lambda: traced(DenseNet(), 3, 16, 16),
    "shufflenet": lambda: traced(ShuffleNet(), 3, 32, 32),
    "mlp": lambda: traced(MLP(), 20),
    "group-norm": lambda: traced(GroupNormNet(), 3, 16, 16),
    "attention": lambda: traced(Attention(), 3, 32, 32),
    "decomposed-resnet": lambda: traced(ConvResNet(), 3, 32, 32, decompose=True),
    "decomposed-vgg": lambda: traced(VGG(), 3, 16, 16, decompose=True),
}

NETWORKS = {name: functools.cache(make) for name, make in _MAKERS.items()}
"""Makers by name. A network is made once: tests leave what they are given alone."""
