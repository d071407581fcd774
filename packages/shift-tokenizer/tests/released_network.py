"""The released tokenizer's network, written anew from its state dict, to compare imports with."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 3, 1, dilation, dilation)
        self.conv2 = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x.relu()).relu())


class Blocks(nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*[Block(width, 3**i) for i in reversed(range(depth))])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Coder(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def encoder(width: int, dim: int, stages: int, depth: int) -> Coder:
    shrink = [nn.Sequential(nn.Conv1d(width, width, 4, 2, 1), Blocks(width, depth)) for _ in range(stages)]
    return Coder(nn.Conv1d(99, width, 3, 1, 1), nn.ReLU(), *shrink, nn.Conv1d(width, dim, 3, 1, 1))


def decoder(width: int, dim: int, stages: int, depth: int, outputs: int) -> Coder:
    def grow() -> nn.Module:
        return nn.Sequential(Blocks(width, depth), nn.Upsample(scale_factor=2), nn.Conv1d(width, width, 3, 1, 1))

    last = [nn.Conv1d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv1d(width, outputs, 3, 1, 1)]
    return Coder(nn.Conv1d(dim, width, 3, 1, 1), nn.ReLU(), *[grow() for _ in range(stages)], *last)


class Codebook(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(size, dim))


class OneModel(nn.Module):
    """The trajectory model or the pose model."""

    def __init__(self, kind: str, size: int, width: int, dim: int, stages: int, depth: int) -> None:
        super().__init__()
        self.names = (
            ("traj_decoder", "traj_quantizer") if kind == "traj" else ("handpose_decoder", "handpose_quantizer")
        )
        self.encoder = encoder(width, dim, stages, depth)
        self.add_module(self.names[0], decoder(width, dim, stages, depth, 9 if kind == "traj" else 90))
        self.add_module(self.names[1], Codebook(size, dim))

    @property
    def codebook(self) -> Tensor:
        return self.get_submodule(self.names[1]).codebook

    def latents(self, hands: Tensor) -> Tensor:
        """(N, T, 99) -> (N, L, D)."""
        return self.encoder(hands.transpose(1, 2)).transpose(1, 2)

    def quantize(self, hands: Tensor) -> Tensor:
        """(N, T, 99) -> (N, L)."""
        return torch.cdist(self.latents(hands).double(), self.codebook.double()).argmin(-1)

    def decode(self, ids: Tensor) -> Tensor:
        """(N, L) -> (N, T, C)."""
        return self.get_submodule(self.names[0])(self.codebook[ids].transpose(1, 2)).transpose(1, 2)


class ReleasedTokenizer(nn.Module):
    """Both models: normalised features (B, T, 198), right hand first, to flat ids and back."""

    def __init__(self, size: int, width: int, dim: int, stages: int = 2, depth: int = 3) -> None:
        super().__init__()
        self.size = size
        self.traj_model = OneModel("traj", size, width, dim, stages, depth)
        self.hp_model = OneModel("pose", size, width, dim, stages, depth)

    def encode(self, x: Tensor) -> Tensor:
        hands = torch.cat([x[..., :99], x[..., 99:]])
        (t0, t1), (p0, p1) = (m.quantize(hands).chunk(2) for m in (self.traj_model, self.hp_model))
        return torch.stack([t0, p0 + self.size, t1, p1 + self.size], -1).flatten(1)

    def decode(self, ids: Tensor) -> Tensor:
        t0, p0, t1, p1 = ids.unflatten(1, (-1, 4)).unbind(-1)
        trajectory = self.traj_model.decode(torch.cat([t0, t1]))
        pose = self.hp_model.decode(torch.cat([p0, p1]) - self.size)
        return torch.cat(torch.cat([trajectory[..., :6], pose, trajectory[..., 6:]], -1).chunk(2), -1)
