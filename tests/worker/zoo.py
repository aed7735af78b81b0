"""Networks of every family by name, with what `torch.export` and `torch.onnx.export` need to know of them.

`ZOO` holds small ones, written in `networks*.py`. `REAL_ZOO` holds those of torchvision and transformers; it is empty
of the packages that are not installed. All weights are random.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.worker import networks, networks_images, networks_sequences, networks_transformers
from tests.worker.zoo_example import Example, made
from tests.worker.zoo_real import REAL_ZOO

__all__ = ["REAL_ZOO", "ZOO", "Example"]


def images(make: Callable[[], nn.Module], *shape: int) -> Callable[[], Example]:
    return made(make, lambda: (torch.randn(2, *(shape or (3, 32, 32))),))


def tokens(
    make: Callable[[], nn.Module], *, words: int = 30, inputs: int = 1, free: tuple[int, ...] = (1,)
) -> Callable[[], Example]:
    """Texts of 9 tokens, the second one of 7."""
    return made(make, lambda: tuple(torch.randint(0, words, (2, 9 - 2 * i)) for i in range(inputs)), free=free)


def padded_text() -> tuple[Tensor, Tensor]:
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, 6:] = 0
    return torch.randint(0, 50, (2, 9)), mask


ZOO: dict[str, Callable[[], Example]] = {
    "resnet": images(networks_images.ResNet),
    "resnet-bottleneck": images(networks.ConvResNet),
    "resnext": images(lambda: networks.ConvResNet(groups=4)),
    "resnet-padded": images(networks.PaddedResNet),
    "vgg": images(networks.VGG, 3, 16, 16),
    "mobilenet-v2": images(lambda: networks.MobileNet(False, nn.ReLU6)),
    "mobilenet-v3": images(lambda: networks.MobileNet(True, nn.Hardswish)),
    "mnasnet": images(networks_images.MnasNet),
    "efficientnet": images(lambda: networks.MobileNet(True, nn.SiLU)),
    "regnet": images(networks_images.RegNet),
    "densenet": images(networks.DenseNet, 3, 16, 16),
    "shufflenet": images(networks.ShuffleNet),
    "inception": images(networks_images.Inception, 3, 16, 16),
    "convnext": images(networks_images.ConvNeXt),
    "unet": images(networks_images.UNet),
    "detector": images(networks_images.Detector),
    "gated-conv": images(networks_images.GatedConvNet, 3, 16, 16),
    "decoder": images(networks_images.Decoder, 12),
    "conv1d": made(networks_images.Conv1dNet, lambda: (torch.randn(2, 4, 20),), free=(2,)),
    "conv3d": images(networks_images.Conv3dNet, 1, 4, 12, 12),
    "mlp": images(networks.MLP, 20),
    "vit": images(networks_transformers.ViT),
    "swin": images(networks_transformers.Swin),
    "mixer": images(networks_transformers.Mixer),
    "bert": made(networks_transformers.Bert, padded_text, free=(1,)),
    "gpt2": tokens(networks_transformers.GPT2),
    "llama": tokens(lambda: networks_transformers.Llama(fused=False)),
    "llama-fused": tokens(lambda: networks_transformers.Llama(fused=True)),
    "t5": tokens(networks_transformers.T5, inputs=2),
    "einsum-attention": tokens(networks_transformers.EinsumAttention),
    "tied-language-model": tokens(networks_transformers.TiedLanguageModel),
    # torch.export fixes the length of what a recurrent layer reads.
    "lstm": tokens(networks_sequences.LSTM, free=()),
    "lstm-stacked": images(networks_sequences.StackedLSTM, 7, 6),
    "gru": images(networks_sequences.GRU, 7, 6),
    "seq2seq": tokens(networks_sequences.Seq2Seq, words=20, inputs=2, free=()),
}

ZOO = {name: functools.cache(make) for name, make in ZOO.items()}
