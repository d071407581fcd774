"""Encoder and decoder of one stream: the published convolutional residual networks, laid out for speed.

Design:
- Tensors are (B, T, C), channels last. On a CPU a convolution is one matrix product over the taps that reach
  into the clip. Against `Conv1d`, at width 112 and 96 hands, forward and backward: 1.1 to 1.6 times as fast on
  8 and 16 frames, 0.9 on 32, 5 where the dilation leaves the clip. Weights are (k, in, out) for it.
- Ragged batches: a mask (B, T, 1) zeroes what lies past the end of each clip before every convolution. That
  is what zero padding does to a clip on its own, so a clip in a padded batch gives exactly what it gives
  alone.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class TimeConv(nn.Module):
    """A convolution over time: (B, T, C) -> (B, T / stride, C')."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.padding = (dilation * (kernel - 1) + 1 - stride) // 2
        self.weight = nn.Parameter(torch.empty(kernel, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        bound = 1 / math.sqrt(inputs * kernel)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def sees(self, first: int, last: int) -> tuple[int, int]:
        """The inputs, from and to, that outputs from `first` to `last` depend on."""
        return first * self.stride - self.padding, last * self.stride - self.padding + self.dilation * (self.kernel - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolves; the ends are padded with zeros so that T becomes T / stride. Under autocast, in its type."""
        if x.device.type != "cpu":
            weight = self.weight.permute(2, 1, 0)
            y = F.conv1d(x.transpose(1, 2), weight, self.bias, self.stride, self.padding, self.dilation)
            return y.transpose(1, 2)
        offsets = [k * self.dilation - self.padding for k in range(self.kernel)]
        inside = [k for k, offset in enumerate(offsets) if abs(offset) < x.shape[1]]
        weight, bias = self.weight[inside[0] : inside[-1] + 1], self.bias
        if torch.is_autocast_enabled("cpu"):
            x, weight, bias = (t.to(torch.get_autocast_dtype("cpu")) for t in (x, weight, bias))
        result: Tensor = _TapProduct.apply(x, weight, bias, tuple(offsets[k] for k in inside), self.stride)
        return result


class _TapProduct(torch.autograd.Function):
    """y[t] = bias + sum over k of x[t * stride + offset_k] @ weight[k], as one matrix product, and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, offsets: tuple[int, ...], stride: int) -> Tensor:
        window = _gather_taps(x, offsets, stride)  # (B, T', k C)
        matrix = weight.flatten(0, 1)  # (k C, C')
        ctx.save_for_backward(window, matrix)
        ctx.offsets, ctx.stride, ctx.input_shape = offsets, stride, x.shape
        y = x.new_empty(*window.shape[:2], matrix.shape[1])
        torch.addmm(bias, window.flatten(0, 1), matrix, out=y.flatten(0, 1))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        window, matrix = ctx.saved_tensors
        rows = grad.flatten(0, 1)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_window = (rows @ matrix.T).unflatten(0, window.shape[:2])
            grad_x = _scatter_taps(grad_window, ctx.offsets, ctx.stride, ctx.input_shape)
        if ctx.needs_input_grad[1]:
            grad_weight = (window.flatten(0, 1).T @ rows).unflatten(0, (len(ctx.offsets), -1))
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        return grad_x, grad_weight, grad_bias, None, None


def _gather_taps(x: Tensor, offsets: tuple[int, ...], stride: int) -> Tensor:
    """Puts x[t * stride + offset] of every offset side by side, zeros outside: (B, T, C) -> (B, T', k C)."""
    if offsets == (0,) and stride == 1:
        return x
    batch, length, channels = x.shape
    window = x.new_empty(batch, length // stride, len(offsets), channels)
    for k, offset in enumerate(offsets):
        first, last, taken = _overlap(offset, stride, length)
        window[:, :first, k] = 0
        window[:, last:, k] = 0
        window[:, first:last, k] = x[:, taken]
    return window.flatten(2)


def _scatter_taps(grad: Tensor, offsets: tuple[int, ...], stride: int, shape: torch.Size) -> Tensor:
    """The adjoint of `_gather_taps`: (B, T', k C) -> (B, T, C)."""
    if offsets == (0,) and stride == 1:
        return grad
    taps = grad.unflatten(2, (len(offsets), -1))
    result = grad.new_zeros(shape)
    for k, offset in enumerate(offsets):
        first, last, taken = _overlap(offset, stride, shape[1])
        result[:, taken] += taps[:, first:last, k]
    return result


def _overlap(offset: int, stride: int, length: int) -> tuple[int, int, slice]:
    """The steps t from first to last whose t * stride + offset lies within the clip, and where in the clip."""
    first = max(0, -(offset // stride))
    last = min(length // stride, (length - 1 - offset) // stride + 1)
    start = first * stride + offset
    return first, last, slice(start, start + (last - first - 1) * stride + 1, stride)


class ResidualBlock(nn.Module):
    """x + conv1(relu(conv3(relu(x)))), the wider one dilated."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.wide = TimeConv(width, width, 3, dilation=dilation)
        self.mix = TimeConv(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return x + self.mix(F.relu(self.wide(_masked(F.relu(x), mask)), inplace=True))


class Encoder(nn.Module):
    """Features (B, T, C) -> latents (B, T / frames_per_latent, D)."""

    def __init__(self, inputs: int, width: int, dim: int, frames: int, stages: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.first = TimeConv(inputs, width, 3)
        self.shrink = nn.ModuleList(
            TimeConv(width, width, 4, stride=2) if 2**i < frames else TimeConv(width, width, 3) for i in range(stages)
        )
        self.blocks = nn.ModuleList(nn.ModuleList(ResidualBlock(width, d) for d in dilations) for _ in range(stages))
        self.last = TimeConv(width, dim, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encodes; `mask` (B, T, 1) is 1 on each clip's own frames."""
        x = F.relu(self.first(_masked(x, mask)), inplace=True)
        for shrink, blocks in zip(self.shrink, self.blocks, strict=True):
            length = x.shape[1]
            x = shrink(_masked(x, mask))
            if mask is not None and x.shape[1] < length:
                mask = mask[:, ::2]
            for block in blocks:
                x = block(x, mask)
        return self.last(_masked(x, mask))

    def reach(self) -> tuple[int, int]:
        """The frames that latent 0 depends on, from and to; those of latent j lie j * frames_per_latent further."""
        span = self.last.sees(0, 0)
        for shrink, blocks in zip(reversed(self.shrink), reversed(self.blocks), strict=True):
            span = shrink.sees(*_through(blocks, span))
        return self.first.sees(*span)


class Decoder(nn.Module):
    """Codes (B, L, D) -> features (B, L * frames_per_latent, C)."""

    def __init__(
        self, dim: int, width: int, outputs: int, frames: int, stages: int, dilations: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.frames = frames
        self.doubles = [2**i < frames for i in range(stages)]
        self.first = TimeConv(dim, width, 3)
        self.blocks = nn.ModuleList(nn.ModuleList(ResidualBlock(width, d) for d in dilations) for _ in range(stages))
        self.grow = nn.ModuleList(TimeConv(width, width, 3) for _ in range(stages))
        self.smooth = TimeConv(width, width, 3)
        self.last = TimeConv(width, outputs, 3)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        """Decodes; `mask` (B, L, 1) is 1 on each clip's own steps."""
        x = F.relu(self.first(_masked(z, mask)), inplace=True)
        for doubles, blocks, grow in zip(self.doubles, self.blocks, self.grow, strict=True):
            for block in blocks:
                x = block(x, mask)
            if doubles:
                x = x.repeat_interleave(2, 1)
                mask = None if mask is None else mask.repeat_interleave(2, 1)
            x = grow(_masked(x, mask))
        x = F.relu(self.smooth(_masked(x, mask)), inplace=True)
        return self.last(_masked(x, mask))

    def reach(self) -> tuple[int, int]:
        """The latents that the frames of latent 0 depend on, from and to."""
        span = self.smooth.sees(*self.last.sees(0, self.frames - 1))
        for doubles, blocks, grow in zip(
            reversed(self.doubles), reversed(self.blocks), reversed(self.grow), strict=True
        ):
            first, last = grow.sees(*span)
            span = _through(blocks, (first // 2, last // 2) if doubles else (first, last))
        return self.first.sees(*span)


def _through(blocks: nn.Module, span: tuple[int, int]) -> tuple[int, int]:
    """What a span of a stage's outputs depends on."""
    for block in reversed([b for b in blocks.children() if isinstance(b, ResidualBlock)]):
        span = block.wide.sees(*span)
    return span


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask
