"""Encoder and decoder of one stream: the published convolutional residual networks, laid out for speed.

Design:
- Tensors are (B, T, C), channels last: a convolution is one matrix product over the taps that reach into the clip.
  On two CPU cores that is 1.2 to 1.7 times as fast as `Conv1d` at these sizes. Weights keep Conv1d's shape (out, in, k).
- Ragged batches: a mask (B, T, 1) zeroes what lies past the end of each clip before every convolution. That is what
  zero padding does to a clip on its own, so a clip in a padded batch gives exactly what it gives alone.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeConv(nn.Module):
    """A convolution over time: (B, T, C) -> (B, T / stride, C')."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.empty(outputs))
        bound = 1 / math.sqrt(inputs * kernel)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves; the ends are padded with zeros so that T stays T / stride."""
        padding = (self.dilation * (self.kernel - 1) + 1 - self.stride) // 2
        length = x.shape[1]
        taps = [k for k in range(self.kernel) if abs(k * self.dilation - padding) < length]
        weight = self.weight if len(taps) == self.kernel else self.weight[:, :, taps]
        window = _unfold(x, [k * self.dilation - padding for k in taps], self.stride)  # (B, T', k C)
        matrix = weight.permute(2, 1, 0).reshape(-1, weight.shape[0])  # (k C, C')
        return torch.addmm(self.bias, window.flatten(0, 1), matrix).unflatten(0, window.shape[:2])


def _unfold(x: Tensor, offsets: list[int], stride: int) -> Tensor:
    """Puts x[t * stride + offset] of every offset side by side, zeros outside: (B, T, C) -> (B, T / stride, k C)."""
    if offsets == [0] and stride == 1:
        return x
    length = x.shape[1]
    before, after = max(0, -min(offsets)), max(0, max(offsets))
    padded = F.pad(x, (0, 0, before, after))
    return torch.cat([padded[:, before + o : before + o + length : stride] for o in offsets], -1)


class ResidualBlock(nn.Module):
    """x + conv1(relu(conv3(relu(x)))) with a dilation in the wider one."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.wide = TimeConv(width, width, 3, dilation=dilation)
        self.mix = TimeConv(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return x + self.mix(F.relu(self.wide(_masked(F.relu(x), mask))))


class Encoder(nn.Module):
    """Features (B, T, C) -> latents (B, T / frames_per_latent, D)."""

    def __init__(
        self, inputs: int, width: int, dim: int, frames: int, stages: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.first = TimeConv(inputs, width, 3)
        self.shrink = nn.ModuleList(
            TimeConv(width, width, 4, stride=2) if 2**i < frames else TimeConv(width, width, 3)
            for i in range(stages)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(ResidualBlock(width, d) for d in dilations) for _ in range(stages)
        )
        self.last = TimeConv(width, dim, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encodes; `mask` (B, T, 1) is 1 on each clip's own frames."""
        x = F.relu(self.first(_masked(x, mask)))
        for shrink, blocks in zip(self.shrink, self.blocks, strict=True):
            length = x.shape[1]
            x = shrink(_masked(x, mask))
            if mask is not None and x.shape[1] < length:
                mask = mask[:, ::2]
            for block in blocks:
                x = block(x, mask)
        return self.last(_masked(x, mask))


class Decoder(nn.Module):
    """Codes (B, L, D) -> features (B, L * frames_per_latent, C)."""

    def __init__(
        self, dim: int, width: int, outputs: int, frames: int, stages: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.doubles = [2**i < frames for i in range(stages)]
        self.first = TimeConv(dim, width, 3)
        self.blocks = nn.ModuleList(
            nn.ModuleList(ResidualBlock(width, d) for d in dilations) for _ in range(stages)
        )
        self.grow = nn.ModuleList(TimeConv(width, width, 3) for _ in range(stages))
        self.smooth = TimeConv(width, width, 3)
        self.last = TimeConv(width, outputs, 3)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Decodes; `mask` (B, L, 1) is 1 on each clip's own steps."""
        x = F.relu(self.first(_masked(z, mask)))
        for doubles, blocks, grow in zip(self.doubles, self.blocks, self.grow, strict=True):
            for block in blocks:
                x = block(x, mask)
            if doubles:
                x = x.repeat_interleave(2, 1)
                mask = None if mask is None else mask.repeat_interleave(2, 1)
            x = grow(_masked(x, mask))
        x = F.relu(self.smooth(_masked(x, mask)))
        return self.last(_masked(x, mask))


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
