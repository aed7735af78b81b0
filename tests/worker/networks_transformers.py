"""Small transformers and their relatives. Random weights; text of any length."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GPT2", "T5", "Bert", "EinsumAttention", "Llama", "Mixer", "Swin", "TiedLanguageModel", "ViT"]


class Bert(nn.Module):
    """Post-norm encoder layers with separate projections and a padding mask; a pooler and a classifier."""

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
            self.output, self.norm1, self.norm2 = nn.Linear(width, width), nn.LayerNorm(width), nn.LayerNorm(width)
            self.intermediate, self.dense = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
            self.heads = heads

        def split(self, x: Tensor) -> Tensor:
            return x.view(x.shape[0], -1, self.heads, x.shape[2] // self.heads).transpose(1, 2)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
            x = self.norm1(x + self.output(mixed.reshape(x.shape)))
            return self.norm2(x + self.dense(F.gelu(self.intermediate(x))))

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(50, width), nn.Embedding(64, width), nn.Embedding(2, width)
        self.norm, self.layers = nn.LayerNorm(width), nn.ModuleList(self.Layer(width, heads) for _ in range(2))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1])) + self.kinds(torch.zeros_like(ids))
        x = self.norm(x)
        keep = mask[:, None, None, :] > 0
        for layer in self.layers:
            x = layer(x, keep)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


class GPT2(nn.Module):
    """Pre-norm decoder layers with fused projections (`addmm`), attention written out under a causal mask."""

    class Conv1D(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs) / 6), nn.Parameter(torch.zeros(outputs))

        def forward(self, x: Tensor) -> Tensor:
            shape = (*x.shape[:-1], self.weight.shape[1])
            return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(shape)

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.qkv, self.out = GPT2.Conv1D(width, 3 * width), GPT2.Conv1D(width, width)
            self.up, self.down = GPT2.Conv1D(width, 4 * width), GPT2.Conv1D(4 * width, width)
            self.norm1, self.norm2, self.heads = nn.LayerNorm(width), nn.LayerNorm(width), heads
            self.register_buffer("mask", torch.ones(64, 64).tril().bool().view(1, 1, 64, 64))

        def forward(self, x: Tensor) -> Tensor:
            b, t, c = x.shape
            parts = self.qkv(self.norm1(x)).split(c, dim=2)
            q, k, v = (part.view(b, t, self.heads, c // self.heads).transpose(1, 2) for part in parts)
            scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
            scores = scores.masked_fill(~self.mask[:, :, :t, :t], torch.finfo(x.dtype).min)
            x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(b, t, c))
            y = self.up(self.norm2(x))
            return x + self.down(0.5 * y * (1.0 + torch.tanh(0.8 * (y + 0.044715 * y.pow(3.0)))))

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(50, width), nn.Embedding(64, width)
        self.layers, self.norm = nn.ModuleList(self.Layer(width, heads) for _ in range(2)), nn.LayerNorm(width)
        self.head = nn.Linear(width, 50, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]).unsqueeze(0))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Llama(nn.Module):
    """Grouped queries, rotary positions, RMS norm written out, and a gated MLP."""

    class Norm(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int, groups: int, fused: bool) -> None:
            super().__init__()
            self.size, self.times, self.fused = width // heads, heads // groups, fused
            self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
            self.k, self.v = (nn.Linear(width, groups * self.size, bias=False) for _ in range(2))
            self.gate, self.up = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
            self.down = nn.Linear(3 * width, width, bias=False)
            self.norm1, self.norm2 = Llama.Norm(width), Llama.Norm(width)

        def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            left, right = x[..., : self.size // 2], x[..., self.size // 2 :]
            return x * cos + torch.cat((-right, left), -1) * sin

        def repeat(self, x: Tensor) -> Tensor:
            b, groups, t, d = x.shape
            return x[:, :, None].expand(b, groups, self.times, t, d).reshape(b, groups * self.times, t, d)

        def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
            y = self.norm1(x)
            shape = (*x.shape[:-1], -1, self.size)
            q, k, v = (part(y).view(shape).transpose(1, 2) for part in (self.q, self.k, self.v))
            q, k = self.turn(q, cos, sin), self.turn(k, cos, sin)
            if self.fused:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            else:
                y = F.scaled_dot_product_attention(q, self.repeat(k), self.repeat(v), is_causal=True)
            x = x + self.o(y.transpose(1, 2).reshape(*x.shape[:-1], -1))
            y = self.norm2(x)
            return x + self.down(F.silu(self.gate(y)) * self.up(y))

    def __init__(self, fused: bool, width: int = 32, heads: int = 8, groups: int = 2) -> None:
        super().__init__()
        self.words = nn.Embedding(50, width)
        self.layers = nn.ModuleList(self.Layer(width, heads, groups, fused) for _ in range(2))
        self.norm, self.head = self.Norm(width), nn.Linear(width, 50, bias=False)
        size = width // heads
        self.register_buffer("frequencies", 1.0 / 10000 ** (torch.arange(0, size, 2) / size), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        with torch.no_grad():
            angles = torch.arange(ids.shape[1]).float()[:, None] * self.frequencies
            angles = torch.cat((angles, angles), -1)
            cos, sin = angles.cos(), angles.sin()
        x = self.words(ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.head(self.norm(x))


class T5(nn.Module):
    """Encoder and decoder that share one table with the classifier; positions are a bias from buckets, which the first
    layer of each makes for all."""

    class Attention(nn.Module):
        def __init__(self, width: int, heads: int, biased: bool) -> None:
            super().__init__()
            self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
            self.heads, self.table = heads, nn.Embedding(8, heads) if biased else None

        def bias(self, queries: int, keys: int) -> Tensor | None:
            if self.table is None:
                return None
            apart = torch.arange(keys)[None, :] - torch.arange(queries)[:, None]
            near = apart.abs()
            far = 2 + (torch.log(near.float().clamp(min=1)) * 1.2).to(torch.long)
            buckets = torch.where(near < 2, near, far.clamp(max=3)) + (apart > 0).to(torch.long) * 4
            return self.table(buckets).permute(2, 0, 1).unsqueeze(0)

        def split(self, x: Tensor) -> Tensor:
            return x.view(x.shape[0], -1, self.heads, x.shape[2] // self.heads).transpose(1, 2)

        def forward(self, x: Tensor, source: Tensor, bias: Tensor | None) -> Tensor:
            scores = self.split(self.q(x)) @ self.split(self.k(source)).transpose(2, 3)
            if bias is not None:
                scores = scores + bias
            mixed = F.softmax(scores.float(), -1).type_as(scores) @ self.split(self.v(source))
            return self.o(mixed.transpose(1, 2).contiguous().view(x.shape[0], -1, x.shape[2]))

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int, biased: bool, decoder: bool) -> None:
            super().__init__()
            self.own, self.norm = T5.Attention(width, heads, biased), Llama.Norm(width)
            self.cross = T5.Attention(width, heads, False) if decoder else None
            self.cross_norm = Llama.Norm(width) if decoder else None
            self.up, self.gate = nn.Linear(width, 64, bias=False), nn.Linear(width, 64, bias=False)
            self.down, self.last = nn.Linear(64, width, bias=False), Llama.Norm(width)

        def forward(self, x: Tensor, bias: Tensor | None, source: Tensor | None) -> Tensor:
            y = self.norm(x)
            x = x + self.own(y, y, bias)
            if self.cross is not None and self.cross_norm is not None and source is not None:
                x = x + self.cross(self.cross_norm(x), source, None)
            y = self.last(x)
            return x + self.down(F.gelu(self.up(y), approximate="tanh") * self.gate(y))

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.shared = nn.Embedding(40, width)
        self.encoder = nn.ModuleList(self.Layer(width, heads, i == 0, False) for i in range(2))
        self.decoder = nn.ModuleList(self.Layer(width, heads, i == 0, True) for i in range(2))
        self.norm1, self.norm2, self.width = Llama.Norm(width), Llama.Norm(width), width

    def forward(self, ids: Tensor, answers: Tensor) -> Tensor:
        source, x = self.shared(ids), self.shared(answers)
        bias = self.encoder[0].own.bias(ids.shape[1], ids.shape[1])
        for layer in self.encoder:
            source = layer(source, bias, None)
        source = self.norm1(source)
        steps = torch.arange(answers.shape[1])
        causal = (1.0 - (steps[None, :] <= steps[:, None]).float()) * torch.finfo(torch.float32).min
        bias = self.decoder[0].own.bias(answers.shape[1], answers.shape[1]) + causal
        for layer in self.decoder:
            x = layer(x, bias, source)
        return F.linear(self.norm2(x) * self.width**-0.5, self.shared.weight)


class ViT(nn.Module):
    """Patches, a class token, positions, `nn.MultiheadAttention`, layer scale; pre-norm."""

    class Layer(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Dropout(0.1), nn.Linear(64, width))
            self.scale = nn.Parameter(torch.rand(width) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm1(x)
            x = x + self.attention(y, y, y, need_weights=False)[0] * self.scale
            return x + self.mlp(self.norm2(x))

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, width, 8, 8), nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 17, width))
        self.layers = nn.Sequential(self.Layer(width, heads), self.Layer(width, heads))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[0]
        x = self.patch(x).reshape(n, self.token.shape[-1], -1).permute(0, 2, 1)
        x = torch.cat([self.token.expand(n, -1, -1), x], 1) + self.places
        return self.head(self.norm(self.layers(x))[:, 0])


class Swin(nn.Module):
    """Attention in windows, every second time in shifted ones, with a bias looked up by relative position; patches are
    merged (Liu et al. 2021)."""

    class Attention(nn.Module):
        def __init__(self, width: int, heads: int, shift: int, side: int = 4) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.table = nn.Parameter(torch.randn((2 * side - 1) ** 2, heads))
            grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
            apart = (grid[:, :, None] - grid[:, None, :]).permute(1, 2, 0) + side - 1
            self.register_buffer("index", (apart[..., 0] * (2 * side - 1) + apart[..., 1]).flatten())
            self.heads, self.shift, self.side = heads, shift, side

        def forward(self, x: Tensor) -> Tensor:
            b, h, w, c = x.shape
            side, tokens = self.side, self.side**2
            if self.shift:
                x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
            x = x.view(b, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, tokens, c)
            q, k, v = self.qkv(x).reshape(x.shape[0], tokens, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
            scores = (q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)
            scores = scores + self.table[self.index].view(tokens, tokens, -1).permute(2, 0, 1).contiguous().unsqueeze(0)
            if self.shift:
                scores = self.masked(scores, h, w)
            x = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, tokens, c))
            x = x.view(b, h // side, w // side, side, side, c).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, c)
            return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x

        def masked(self, scores: Tensor, h: int, w: int) -> Tensor:
            side, tokens = self.side, self.side**2
            strip = (torch.arange(h) >= h - side).long() + (torch.arange(h) >= h - self.shift).long()
            areas = (strip[:, None] * 3 + strip[None, :]).view(h // side, side, w // side, side).permute(0, 2, 1, 3)
            areas = areas.reshape(-1, tokens)
            mask = (areas.unsqueeze(1) != areas.unsqueeze(2)).float() * -100.0
            windows = mask.shape[0]
            scores = scores.view(-1, windows, self.heads, tokens, tokens) + mask.unsqueeze(1).unsqueeze(0)
            return scores.view(-1, self.heads, tokens, tokens)

    class Block(nn.Module):
        def __init__(self, width: int, heads: int, shift: int) -> None:
            super().__init__()
            self.norm1, self.attention = nn.LayerNorm(width), Swin.Attention(width, heads, shift)
            self.norm2 = nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Merge(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            corners = [x[..., 0::2, 0::2, :], x[..., 1::2, 0::2, :], x[..., 0::2, 1::2, :], x[..., 1::2, 1::2, :]]
            return self.reduce(self.norm(torch.cat(corners, -1)))

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(32)
        self.blocks = nn.Sequential(self.Block(16, 4, 0), self.Block(16, 4, 2), self.Merge(16), self.Block(32, 4, 0))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.patch(x).permute(0, 2, 3, 1)))
        return self.head(F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1).flatten(1))


class Mixer(nn.Module):
    """Perceptrons over tokens and over channels in turn (Tolstikhin et al. 2021)."""

    class Block(nn.Module):
        def __init__(self, tokens: int, width: int) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.tokens = nn.Sequential(nn.Linear(tokens, 24), nn.GELU(), nn.Linear(24, tokens))
            self.channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
            return x + self.channels(self.norm2(x))

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.blocks = nn.Conv2d(3, 32, 8, 8), nn.Sequential(self.Block(16, 32), self.Block(16, 32))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patch(x).flatten(2).transpose(1, 2))).mean(1))


class EinsumAttention(nn.Module):
    """Attention, projections included, as equations over named axes."""

    def __init__(self, width: int = 32, heads: int = 4, size: int = 8) -> None:
        super().__init__()
        self.words = nn.Embedding(50, width)
        self.q, self.k, self.v = (nn.Parameter(torch.randn(width, heads, size) / 6) for _ in range(3))
        self.o, self.up = nn.Parameter(torch.randn(heads, size, width) / 6), nn.Parameter(torch.randn(48, width) / 6)
        self.down, self.head = nn.Parameter(torch.randn(48, width) / 6), nn.Linear(width, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids)
        q, k, v = (torch.einsum("btd,dhk->bhtk", x, part) for part in (self.q, self.k, self.v))
        weights = torch.einsum("...qd,...kd->...qk", q, k).mul(0.35).softmax(-1)
        x = x + torch.einsum("bhqk,bhkd,hdm->bqm", weights, v, self.o)
        x = x + torch.einsum("...h,hd->...d", F.gelu(torch.einsum("...d,hd->...h", x, self.up)), self.down)
        return self.head(x.mean(1))


class TiedLanguageModel(nn.Module):
    """The table of the words is the classifier; a smaller embedding is projected up (Lan et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.up, self.hidden = nn.Embedding(60, 16), nn.Linear(16, 32, bias=False), nn.Linear(32, 40)
        self.down = nn.Linear(40, 16)
        self.bias = nn.Parameter(torch.zeros(60))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.down(F.gelu(self.hidden(self.up(self.words(ids)).cumsum(1))))
        return F.linear(x, self.words.weight, self.bias)
