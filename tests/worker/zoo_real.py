"""Networks of torchvision and transformers, with random weights. None of a package that is not installed."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from tests.worker.zoo_example import Example, made

__all__ = ["REAL_ZOO", "Answers", "Tokens", "declare_compiled_ops", "hugging", "vision"]


def declare_compiled_ops() -> None:
    """A build of torchvision without its compiled ops still declares fake kernels for them on import."""
    for op in ("nms", "qnms"):
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        if not hasattr(torch.ops.torchvision, op):
            torch.library.define(f"torchvision::{op}", schema)


def vision(name: str, size: int = 64, module: str = "torchvision.models", **options: Any) -> Callable[[], Example]:
    def make() -> nn.Module:
        declare_compiled_ops()
        network: nn.Module = getattr(importlib.import_module(module), name)(weights=None, **options)
        if name.startswith("vit"):  # its head starts as zeros, which would answer everything alike
            nn.init.normal_(network.heads[-1].weight, std=0.05)  # type: ignore[index,union-attr]
        for part, parameter in network.named_parameters():
            if part.endswith("layer_scale"):  # starts at 1e-6, which would hide what its block computes
                nn.init.normal_(parameter, std=0.5)
        return network

    return made(make, lambda: (torch.randn(2, 3, size, size),))


class Answers(nn.Module):
    """Only the tensor that a model's task is about."""

    def __init__(self, model: nn.Module, answer: str = "logits") -> None:
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return getattr(self.model(input_ids=input_ids, attention_mask=attention_mask), self.answer)  # type: ignore[no-any-return]


class Tokens(Answers):
    def forward(self, input_ids: Tensor) -> Tensor:  # type: ignore[override]
        return getattr(self.model(input_ids=input_ids, use_cache=False), self.answer)  # type: ignore[no-any-return]


class Pairs(Answers):
    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:  # type: ignore[override]
        found = self.model(input_ids=input_ids, decoder_input_ids=decoder_input_ids, use_cache=False)
        return getattr(found, self.answer)  # type: ignore[no-any-return]


class Pixels(Answers):
    def forward(self, pixel_values: Tensor) -> Tensor:  # type: ignore[override]
        return getattr(self.model(pixel_values=pixel_values), self.answer)  # type: ignore[no-any-return]


class Segments(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        declare_compiled_ops()
        make = getattr(importlib.import_module("torchvision.models.segmentation"), name)
        self.model = make(weights=None, weights_backbone=None, num_classes=5)

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image)["out"]  # type: ignore[no-any-return]


def hugging(wrap: type[Answers], model: str, config: str, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        declare_compiled_ops()  # it imports torchvision
        package = importlib.import_module("transformers")
        return wrap(getattr(package, model)(getattr(package, config)(**options)))

    return make


def _masked_text() -> tuple[Tensor, ...]:
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, 6:] = 0
    return torch.randint(0, 50, (2, 9)), mask


def _text() -> tuple[Tensor, ...]:
    return (torch.randint(0, 50, (2, 9)),)


_BERT = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "num_labels": 3,
}  # fmt: skip
_DISTIL = {"vocab_size": 50, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64}
_GPT2 = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_LLAMA = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
_T5 = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_VIT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32,
    "patch_size": 8, "num_labels": 10,
}  # fmt: skip

_VISION: dict[str, Callable[[], Example]] = {
    **{
        name: vision(name)
        for name in (
            *("resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mnasnet0_5", "densenet121"),
            *("shufflenet_v2_x0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "swin_t"),
        )
    },
    "vgg11_bn": vision("vgg11_bn", 32),
    "googlenet": vision("googlenet", aux_logits=False, init_weights=False),
    "inception_v3": vision("inception_v3", 96, aux_logits=False, init_weights=False),
    "vit_b_16": vision("vit_b_16", 64, image_size=64),
    "fcn_resnet50": made(lambda: Segments("fcn_resnet50"), lambda: (torch.randn(2, 3, 64, 64),)),
    "deeplabv3_mobilenet_v3_large": made(
        lambda: Segments("deeplabv3_mobilenet_v3_large"), lambda: (torch.randn(2, 3, 64, 64),)
    ),
    "lraspp_mobilenet_v3_large": made(
        lambda: Segments("lraspp_mobilenet_v3_large"), lambda: (torch.randn(2, 3, 64, 64),)
    ),
}
_HUGGING: dict[str, Callable[[], Example]] = {
    "hf-bert": made(hugging(Answers, "BertForSequenceClassification", "BertConfig", **_BERT), _masked_text, free=(1,)),
    "hf-distilbert": made(
        hugging(Answers, "DistilBertForSequenceClassification", "DistilBertConfig", **_DISTIL), _masked_text, free=(1,)
    ),
    "hf-gpt2": made(hugging(Tokens, "GPT2LMHeadModel", "GPT2Config", **_GPT2), _text, free=(1,)),
    "hf-llama": made(hugging(Tokens, "LlamaForCausalLM", "LlamaConfig", **_LLAMA), _text, free=(1,)),
    "hf-mistral": made(hugging(Tokens, "MistralForCausalLM", "MistralConfig", **_LLAMA), _text, free=(1,)),
    "hf-qwen2": made(hugging(Tokens, "Qwen2ForCausalLM", "Qwen2Config", **_LLAMA), _text, free=(1,)),
    "hf-t5": made(
        hugging(Pairs, "T5ForConditionalGeneration", "T5Config", **_T5),
        lambda: (torch.randint(0, 50, (2, 9)), torch.randint(0, 50, (2, 7))),
        free=(1,),
    ),
    "hf-vit": made(
        hugging(Pixels, "ViTForImageClassification", "ViTConfig", **_VIT), lambda: (torch.randn(2, 3, 32, 32),)
    ),
}

REAL_ZOO: dict[str, Callable[[], Example]] = {
    **(_VISION if find_spec("torchvision") else {}),
    **(_HUGGING if find_spec("transformers") else {}),
}
