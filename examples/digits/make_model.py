"""Train a small residual network on the handwritten digits that ship with scikit-learn, and save both for upload.

Writes `digits.pt2` (the network, through `torch.export`) and `digits.npz` (the images as they come: uint8 from 0 to
16, NHWC, under the Keras names `x_train, y_train, x_test, y_test`). Takes seconds on one core; every run on one
machine trains the same network.

    python examples/digits/make_model.py FOLDER
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

BRIGHTEST = 16
WIDTHS = (32, 64, 64)  # multiples of eight, with eight blocks to spare: Secateur removes channels in blocks of eight
EPOCHS = 20
BATCH = 64
PEAK_LEARNING_RATE = 0.05


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., 2016), which is a 1x1 convolution where shapes change."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class DigitNet(nn.Module):
    """(batch, 1, 8, 8) in 0..1 -> (batch, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.stem = nn.Conv2d(1, first, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(first)
        self.block1 = Block(first, first, stride=1)
        self.block2 = Block(first, second, stride=2)
        self.block3 = Block(second, third, stride=1)
        self.classifier = nn.Linear(third, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(image)))
        x = self.block3(self.block2(self.block1(x)))
        return self.classifier(x.mean(dim=(2, 3)))


def to_input(images: np.ndarray) -> Tensor:
    """(n, 8, 8, 1) uint8 -> (n, 1, 8, 8) float32 in 0..1, contiguous. The recipe's `input` declares just this."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / BRIGHTEST


def train(images: np.ndarray, labels: np.ndarray) -> DigitNet:
    """SGD with a one-cycle learning rate, and shifts by up to one pixel: handwriting has no fixed place."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # so small a network gains nothing from more, and loses much on a busy machine
    network = DigitNet()
    optimizer = torch.optim.SGD(network.parameters(), lr=PEAK_LEARNING_RATE, momentum=0.9, weight_decay=5e-4)
    inputs, targets = functional.pad(to_input(images), (1, 1, 1, 1)), torch.from_numpy(labels)
    batches = len(inputs) // BATCH  # the incomplete last batch waits for the next shuffle
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=EPOCHS * batches)
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs))
        for batch in range(batches):
            rows = order[batch * BATCH : (batch + 1) * BATCH]
            top, left = torch.randint(0, 3, (2,)).tolist()
            shifted = inputs[rows, :, top : top + 8, left : left + 8].contiguous()
            optimizer.zero_grad()
            functional.cross_entropy(network(shifted), targets[rows]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def save(network: DigitNet, path: Path) -> None:
    """Export with a free batch size. In eval mode batch norm stays in the graph, so that fine-tuning can use it."""
    example = torch.zeros(2, 1, 8, 8)
    program = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, nargs="?", default=Path("demo-output"))
    folder = arguments.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)

    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.uint8).reshape(-1, 8, 8, 1)
    # Half of the images are kept for the verdict: 90 per class. A class with fewer than 59 could never be shown to
    # be within 5 points, whatever the network does.
    x_train, x_test, y_train, y_test = train_test_split(
        images, labels.astype(np.int64), test_size=0.5, stratify=labels, random_state=0
    )
    np.savez_compressed(
        folder / "digits.npz",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=np.array([str(digit) for digit in range(10)]),
    )

    network = train(x_train, y_train)
    save(network, folder / "digits.pt2")
    with torch.no_grad():
        accuracy = (network(to_input(x_test)).argmax(dim=1).numpy() == y_test).mean()
    print(f"trained on {len(x_train)} images, right on {accuracy:.1%} of {len(x_test)} others: {folder / 'digits.pt2'}")


if __name__ == "__main__":
    main()
