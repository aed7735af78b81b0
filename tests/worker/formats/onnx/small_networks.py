"""Small networks with the graph patterns that exporters turn into very different ONNX."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["NETWORKS"]


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """A block with a padded ("option A") or a convolved shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, padded: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_bn(inputs, outputs, stride=stride), conv_bn(outputs, outputs)
        self.shortcut = None if padded else conv_bn(inputs, outputs, 1, stride)
        self.stride, self.extra = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.shortcut is not None:
            return F.relu(y + self.shortcut(x))
        side = self.extra // 2
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, side, self.extra - side))
        return F.relu(y + short)


class ResNet(nn.Module):
    def __init__(self, padded: bool) -> None:
        super().__init__()
        self.stem = conv_bn(3, 8)
        self.layer1 = nn.Sequential(Residual(8, 8, 1, True), Residual(8, 16, 2, padded))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.avg_pool2d(self.layer1(F.relu(self.stem(x))), 6).flatten(1))


class Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


def mobile_net() -> nn.Module:
    """Depthwise and pointwise convolutions, ReLU6, Hardswish, SiLU, squeeze and excitation."""
    return nn.Sequential(
        *conv_bn(3, 8, stride=2),
        nn.ReLU6(),
        *conv_bn(8, 8, groups=8),
        nn.Hardswish(),
        Squeeze(8),
        *conv_bn(8, 16, 1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(16, 5),
    )


class DenseBlock(nn.Module):
    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], dim=1)


def dense_net() -> nn.Module:
    """Batch norm before the convolution, where nothing can be folded, and concatenation."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        DenseBlock(8, 4),
        DenseBlock(12, 4),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.BatchNorm2d(16),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


class Shuffle(nn.Module):
    """Split, grouped convolution, concatenation and channel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16, stride=2)
        self.branch = nn.Sequential(*conv_bn(8, 8, 1), nn.ReLU(), *conv_bn(8, 8, groups=2))
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = F.relu(self.stem(x)).chunk(2, dim=1)
        x = torch.cat([left, self.branch(right)], dim=1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return self.fc(x.mean([2, 3]))


def vgg() -> nn.Module:
    """Max pooling and a flatten into several linear layers."""
    return nn.Sequential(
        *conv_bn(3, 8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.PReLU(8),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 12),
        nn.ELU(),
        nn.Linear(12, 5),
    )


class ConvNext(nn.Module):
    """Layer norm over channels, linear layers on images, GELU, layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.LayerNorm(8)
        self.expand, self.reduce = nn.Linear(8, 16), nn.Linear(16, 8)
        self.scale = nn.Parameter(torch.full((8,), 0.5))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.reduce(F.gelu(self.expand(y)))
        return self.fc((x + y.permute(0, 3, 1, 2)).mean([-2, -1]))


class UNet(nn.Module):
    """Upsampling, transposed convolution, group norm and an image as output."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8)
        self.up, self.head = nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.softplus(self.norm(self.down(x)))
        enlarged = F.interpolate(y, scale_factor=2.0, mode="nearest")
        smooth = F.interpolate(y, size=(12, 12), mode="bilinear", align_corners=False)
        return self.head(torch.cat([self.up(y), enlarged + smooth], 1)).clamp(min=-2).tanh()


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet-padded": lambda: ResNet(padded=True),
    "resnet-convolved": lambda: ResNet(padded=False),
    "mobilenet": mobile_net,
    "densenet": dense_net,
    "shufflenet": Shuffle,
    "vgg": vgg,
    "convnext": ConvNext,
    "unet": UNet,
}
"""All take (batch, 3, 12, 12)."""
