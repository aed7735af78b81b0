"""Small networks for images, volumes and series, in the shapes of the well-known families. Random weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.worker.networks import conv_bn

__all__ = [
    "Conv1dNet",
    "Conv3dNet",
    "ConvNeXt",
    "Decoder",
    "Detector",
    "GatedConvNet",
    "Inception",
    "MnasNet",
    "RegNet",
    "ResNet",
    "UNet",
]  # fmt: skip


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = conv_bn(inputs, outputs, 3, stride), conv_bn(outputs, outputs)
        self.down = conv_bn(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.down(x))


class ResNet(nn.Module):
    """Basic blocks with convolutional shortcuts (He et al. 2016, option B)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.blocks = nn.Sequential(BasicBlock(16, 16, 1), BasicBlock(16, 32, 2), BasicBlock(32, 32, 1))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.blocks(F.relu(self.stem(x))), 1).flatten(1))


class MnasNet(nn.Module):
    """A separable stem and inverted bottlenecks with kernels of 3 and 5 (Tan et al. 2019)."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, wider: int) -> None:
            super().__init__()
            wide = inputs * wider
            self.layers = nn.Sequential(
                conv_bn(inputs, wide, 1), nn.ReLU(inplace=True),
                conv_bn(wide, wide, kernel, stride, wide), nn.ReLU(inplace=True), conv_bn(wide, outputs, 1),
            )  # fmt: skip
            self.residual = inputs == outputs and stride == 1

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x) + x if self.residual else self.layers(x)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(3, 16, 3, 2), nn.ReLU(inplace=True), conv_bn(16, 16, 3, 1, 16), nn.ReLU(inplace=True),
            conv_bn(16, 8, 1),
        )  # fmt: skip
        self.blocks = nn.Sequential(self.Block(8, 16, 3, 2, 3), self.Block(16, 16, 5, 1, 3))
        self.last = conv_bn(16, 48, 1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(48, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(F.relu(self.last(self.blocks(self.stem(x)))).mean([2, 3]))


class RegNet(nn.Module):
    """Bottlenecks with grouped convolutions and squeeze-and-excitation (Radosavovic et al. 2020)."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.a, self.b = conv_bn(inputs, outputs, 1), conv_bn(outputs, outputs, 3, stride, outputs // 4)
            self.fc1, self.fc2 = nn.Conv2d(outputs, 8, 1), nn.Conv2d(8, outputs, 1)
            self.c = conv_bn(outputs, outputs, 1)
            self.proj = conv_bn(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(self.b(F.relu(self.a(x))))
            y = y * torch.sigmoid(self.fc2(F.relu(self.fc1(F.adaptive_avg_pool2d(y, 1)))))
            return F.relu(self.proj(x) + self.c(y))

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16, 3, 2)
        self.blocks = nn.Sequential(self.Block(16, 32, 2), self.Block(32, 32, 1))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.relu(self.stem(x))).mean([2, 3]))


class Inception(nn.Module):
    """Four branches side by side, twice, and a second classifier (Szegedy et al. 2015)."""

    class Block(nn.Module):
        def __init__(self, inputs: int) -> None:
            super().__init__()
            self.one = conv_bn(inputs, 16, 1)
            self.three = nn.Sequential(conv_bn(inputs, 8, 1), nn.ReLU(), conv_bn(8, 16))
            self.five = nn.Sequential(
                nn.Conv2d(inputs, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, (1, 5), padding=(0, 2)),
                nn.Conv2d(8, 8, (5, 1), padding=(2, 0)),
            )  # fmt: skip
            self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(inputs, 8, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1))

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = conv_bn(3, 16), self.Block(16), self.Block(48)
        self.aux, self.head = nn.Linear(48 * 4, 10), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(F.local_response_norm(F.relu(self.stem(x)), 3))
        aux = self.aux(F.adaptive_avg_pool2d(x, 2).flatten(1))
        return self.head(self.second(F.max_pool2d(x, 3, 2, ceil_mode=True)).mean((2, 3))), aux


class ConvNeXt(nn.Module):
    """Depthwise 7 × 7, layer norm in channels-last and layer scale (Liu et al. 2022)."""

    class Block(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.scale = nn.Parameter(torch.rand(width, 1, 1) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            return x + self.scale * self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)

    class ChannelNorm(nn.LayerNorm):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), self.ChannelNorm(16))
        self.first = self.Block(16)
        self.down = nn.Sequential(self.ChannelNorm(16), nn.Conv2d(16, 32, 2, 2))
        self.second, self.norm, self.head = self.Block(32), nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.second(self.down(self.first(self.stem(x)))).mean([-2, -1])))


class UNet(nn.Module):
    """Down, up with transposed convolutions, and skips that are concatenated (Ronneberger et al. 2015). The answer is
    an image."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = self._two(3, 16), self._two(16, 32), self._two(32, 48)
        self.up2, self.up1 = nn.ConvTranspose2d(48, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.left2, self.left1 = self._two(64, 32), self._two(32, 16)
        self.head = nn.Conv2d(16, 2, 1)

    @staticmethod
    def _two(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            conv_bn(inputs, outputs), nn.ReLU(inplace=True), conv_bn(outputs, outputs), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        x = self.left2(torch.cat([two, self.up2(self.bottom(F.max_pool2d(two, 2)))], 1))
        return self.head(self.left1(torch.cat([one, self.up1(x)], 1)))


class Detector(nn.Module):
    """A detector after YOLOv8: C2f blocks, SPPF, a path that goes up again, boxes and classes at two scales."""

    class Conv(nn.Module):
        def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
            super().__init__()
            self.layer, self.act = conv_bn(inputs, outputs, kernel, stride), nn.SiLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.layer(x))

    class C2f(nn.Module):
        """Half goes on as it is, half through bottlenecks, and every step is kept."""

        def __init__(self, inputs: int, outputs: int, residual: bool) -> None:
            super().__init__()
            half = outputs // 2
            self.into, self.out = Detector.Conv(inputs, outputs), Detector.Conv(2 * outputs, outputs)
            self.steps = nn.ModuleList(
                nn.Sequential(Detector.Conv(half, half, 3), Detector.Conv(half, half, 3)) for _ in range(2)
            )
            self.residual = residual

        def forward(self, x: Tensor) -> Tensor:
            parts = list(self.into(x).chunk(2, 1))
            for step in self.steps:
                parts.append(parts[-1] + step(parts[-1]) if self.residual else step(parts[-1]))
            return self.out(torch.cat(parts, 1))

    class Pyramid(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.into, self.out = Detector.Conv(width, width // 2), Detector.Conv(width * 2, width)

        def forward(self, x: Tensor) -> Tensor:
            parts = [self.into(x)]
            for _ in range(3):
                parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
            return self.out(torch.cat(parts, 1))

    def __init__(self, classes: int = 4, bins: int = 4) -> None:
        super().__init__()
        self.stem, self.first = self.Conv(3, 16, 3, 2), self.C2f(16, 16, True)
        self.down, self.second = self.Conv(16, 32, 3, 2), self.C2f(32, 32, True)
        self.pyramid, self.merge = self.Pyramid(32), self.C2f(48, 16, False)
        self.boxes = nn.ModuleList(nn.Sequential(self.Conv(c, 16, 3), nn.Conv2d(16, 4 * bins, 1)) for c in (16, 32))
        self.classes = nn.ModuleList(nn.Sequential(self.Conv(c, 16, 3), nn.Conv2d(16, classes, 1)) for c in (16, 32))
        self.width, self.bins = (4 * bins, classes), bins
        self.project = nn.Conv2d(bins, 1, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.first(self.stem(x))
        coarse = self.pyramid(self.second(self.down(fine)))
        fine = self.merge(torch.cat([fine, F.interpolate(coarse, scale_factor=2.0, mode="nearest")], 1))
        found = [
            torch.cat((box(y), kind(y)), 1)
            for box, kind, y in zip(self.boxes, self.classes, (fine, coarse), strict=True)
        ]
        flat = torch.cat([y.view(y.shape[0], sum(self.width), -1) for y in found], 2)
        box, kind = flat.split(self.width, 1)
        b, _, anchors = box.shape
        sides = self.project(box.view(b, 4, self.bins, anchors).transpose(2, 1).softmax(1)).view(b, 4, anchors)
        left, right = sides.chunk(2, 1)
        return torch.cat((torch.cat((right - left, left + right), 1), kind.sigmoid()), 1), found[0], found[1]


class GatedConvNet(nn.Module):
    """Gated linear units instead of activations (Dauphin et al. 2017), with group norm and instance norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 32, 3), nn.Conv2d(16, 64, 3, 2), nn.Conv2d(32, 24, 3)
        self.instance, self.group, self.slope = nn.InstanceNorm2d(16, affine=True), nn.GroupNorm(8, 32), nn.PReLU(24)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.instance(F.glu(self.a(x), 1))
        left, right = self.b(x).chunk(2, 1)
        return self.head(self.slope(self.c(self.group(left * right.sigmoid()))).mean((2, 3)))


class Decoder(nn.Module):
    """An image from a vector: grouped and depthwise transposed convolutions, pixel shuffle and reflection."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(12, 32 * 4)
        self.grouped = nn.ConvTranspose2d(32, 64, 4, 2, 1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.paired = nn.ConvTranspose2d(64, 32, 2, 2, groups=2)
        self.depthwise = nn.ConvTranspose2d(32, 32, 3, 1, 1, groups=32)
        self.wide, self.last = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(16, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x).view(-1, 32, 2, 2)
        x = F.relu(self.depthwise(F.relu(self.paired(F.relu(self.norm(self.grouped(x)))))))
        return torch.tanh(self.last(F.pad(F.pixel_shuffle(self.wide(x), 2), (1, 1, 1, 1), mode="reflect")))


class Conv1dNet(nn.Module):
    """A temporal convolutional network: dilated causal convolutions with residuals. Any length."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.convs = (
            nn.Conv1d(4, 24, 1),
            nn.ModuleList(nn.Conv1d(24, 24, 3, dilation=2**i) for i in range(3)),
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(24) for _ in range(3))
        self.mixes = nn.ModuleList(nn.Conv1d(24, 24, 1) for _ in range(3))
        self.head = nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv, norm, mix in zip(self.convs, self.norms, self.mixes, strict=True):
            x = x + mix(F.relu(norm(conv(F.pad(x, (2 * conv.dilation[0], 0))))))
        return self.head(F.leaky_relu(x).amax(2))


class Conv3dNet(nn.Module):
    """A convolutional network for clips."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv3d(1, 16, 3, padding=1), nn.BatchNorm3d(16)
        self.b = nn.Conv3d(16, 24, (1, 3, 3), padding=(0, 1, 1))
        self.c = nn.Conv3d(24, 32, (3, 1, 1), padding=(1, 0, 0))
        self.hidden, self.head = nn.Linear(32 * 8, 40), nn.Linear(40, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(F.relu(self.norm(self.a(x))), 2)
        x = F.adaptive_avg_pool3d(F.relu(self.c(F.relu(self.b(x)))), 2)
        return self.head(F.relu(self.hidden(x.flatten(1))))
