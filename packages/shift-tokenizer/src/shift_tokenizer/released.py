"""The tokenizer checkpoints of CLUTCH's released code, read into a `ShiftTokenizer`; and its ids, to and from ours.

Convention of the released code:
    A frame is right hand 99, then left hand 99 (here: left, then right); within a hand the order is ours. The
    tokens of a step are hand 0 trajectory, hand 0 pose, hand 1 trajectory, hand 1 pose, pose ids moved up by
    the number of trajectory codes. Hand 0 is the right hand, whatever its names say. So frame [R | L] with ids
    [r, K + s, l, K + m] is our frame [L | R] with tokens [l, m, r, s].

Its two models are Lightning checkpoints of `VQVae`, whose names stand under `vae.` (or, both in one file, under
`vae.traj_model.` and `vae.hp_model.`). They are read by torch's weights-only loader. Classes of other packages
that they mention, such as hyperparameters of OmegaConf, become empty stand-ins, and none of their code runs.
"""

import contextlib
import logging
import pickle
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .config import ShiftConfig
from .errors import FileFormatError, ShapeError
from .layout import FEATURES, HAND_FEATURES, HANDS, split_hands
from .networks import TimeConv
from .quantizer import EmaQuantizer
from .streams import Stream
from .tokenizer import ShiftTokenizer

logger = logging.getLogger(__name__)

_Path = str | PathLike[str]
MeanStd = tuple[Any, Any] | _Path

_MODELS = (
    ("traj_model.", "traj_decoder.", "traj_quantizer."),
    ("hp_model.", "handpose_decoder.", "handpose_quantizer."),
)
_DILATION_GROWTH = 3


def import_released_checkpoint(
    traj_ckpt: _Path, pose_ckpt: _Path, mean_std: MeanStd | None = None, *, device: str | torch.device = "cpu"
) -> ShiftTokenizer:
    """Reads the released code's two tokenizer checkpoints.

    Args:
        traj_ckpt: Lightning checkpoint of the trajectory model, or a plain state dict.
        pose_ckpt: of the pose model. One file that holds both may be given twice.
        mean_std: (mean, std), each (198,) in the released order, as arrays or .npy paths; or one .npz with
            "mean" and "std". Without it the tokenizer takes features that were normalised before, and gives
            such features back.
        device: where the tokenizer goes.

    Returns:
        a tokenizer in eval mode that takes features in this package's layout, and gives the same codes (slots
        in our order) and the same motion as the released code. Sizes are read off the weights; dilations are
        not in them and are taken as published (..., 9, 3, 1).

    Raises:
        FileFormatError: a file is missing, corrupt, holds more than weights can be read from, or lacks weights.
    """
    states = [_read_model(path, *names) for path, names in zip((traj_ckpt, pose_ckpt), _MODELS, strict=True)]
    configs = [_sizes(state, path) for state, path in zip(states, (traj_ckpt, pose_ckpt), strict=True)]
    if configs[0] != configs[1]:
        one, other = (f"width {c.width}, {c.codebook_size} x {c.code_dim} codes, {c.n_stages} stages" for c in configs)
        raise FileFormatError(
            f"{pose_ckpt}: expected the sizes of {traj_ckpt}, {one}, got {other}. Take two that were trained together."
        )
    tokenizer = ShiftTokenizer(configs[0])
    for stream, state, path in zip(tokenizer.stream_list(), states, (traj_ckpt, pose_ckpt), strict=True):
        _fill(stream, state, path)
    if mean_std is None:
        logger.warning("no mean and std given: the imported tokenizer works on normalised features")
    else:
        mean, std = _read_mean_std(mean_std)
        tokenizer.mean.copy_(mean.flip(0))
        tokenizer.std.copy_(std.flip(0))
    return tokenizer.eval().to(device)


def swap_hands(features: Tensor) -> Tensor:
    """Released layout to ours, or ours to the released one: features (..., 198) with the two hands exchanged."""
    return split_hands(features).flip(-2).flatten(-2)


def tokens_to_released_ids(tokens: Tensor, config: ShiftConfig) -> Tensor:
    """Tokens (..., L, 4) of SHIFT to the released code's ids (..., 4 L): right hand first, pose moved up."""
    tokens = torch.as_tensor(tokens)
    _check_slots(config)
    if tokens.ndim < 2 or tokens.shape[-1] != config.n_slots:
        raise ShapeError(f"Expected tokens (..., L, {config.n_slots}), got {tuple(tokens.shape)}. Give whole steps.")
    offsets = tokens.new_tensor([0, config.codebook_size] * HANDS)
    return (tokens.unflatten(-1, (HANDS, -1)).flip(-2).flatten(-2) + offsets).flatten(-2)


def released_ids_to_tokens(ids: Tensor, config: ShiftConfig) -> Tensor:
    """The inverse of `tokens_to_released_ids`: ids (..., 4 L) to tokens (..., L, 4).

    Raises:
        ShapeError: the ids are no whole steps, or one does not belong into its slot.
    """
    ids = torch.as_tensor(ids)
    _check_slots(config)
    if ids.ndim < 1 or ids.shape[-1] % config.n_slots:
        raise ShapeError(f"Expected ids (..., {config.n_slots} L), got {tuple(ids.shape)}. Cut at a whole step.")
    steps = ids.unflatten(-1, (-1, config.n_slots))
    codes = steps - steps.new_tensor([0, config.codebook_size] * HANDS)
    if bool(((codes < 0) | (codes >= config.codebook_size)).any()):
        raise ShapeError(
            f"Expected trajectory ids from 0 and pose ids from {config.codebook_size}, {config.codebook_size} of each, "
            "taking turns; got an id in a wrong slot. Constrain the decoding, or drop the sequence."
        )
    return codes.unflatten(-1, (HANDS, -1)).flip(-2).flatten(-2)


def _check_slots(config: ShiftConfig) -> None:
    if config.slot_codebook != (0, 1, 0, 1):
        raise ShapeError(
            f"Expected a SHIFT configuration with codebooks (0, 1, 0, 1) by slot, got {config.slot_codebook}. "
            "The released code knows no other."
        )


class _StandIn:
    """Takes the place of a class that a checkpoint mentions and that nobody needs."""

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _read_model(path: _Path, prefix: str, decoder: str, quantizer: str) -> dict[str, Tensor]:
    """The tensors of one model, with its decoder and codebook under `decoder.` and `quantizer.`."""
    state = _load_state(Path(path))
    for head in ("vae.", "model.", prefix):
        below = {name.removeprefix(head): tensor for name, tensor in state.items() if name.startswith(head)}
        state = below if any(name.startswith(("encoder.", prefix, decoder)) for name in below) else state
    renamed = {}
    for name, tensor in state.items():
        for theirs, ours in (("encoder.", "encoder."), (decoder, "decoder."), (quantizer, "quantizer.")):
            if name.startswith(theirs):
                renamed[ours + name.removeprefix(theirs)] = tensor
    if not any(name.startswith(("decoder.", "quantizer.")) for name in renamed):
        found = ", ".join(sorted(state)[:3]) or "no tensors"
        raise FileFormatError(
            f"{path}: expected weights named encoder.*, {decoder}*, {quantizer}codebook, under vae. or not, "
            f"got {found}. Check that this is the right one of the two checkpoints."
        )
    return renamed


def _load_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileFormatError(f"{path}: expected a checkpoint file, got none. Check the path.")
    try:
        mentioned = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, OSError, EOFError, pickle.UnpicklingError):
        mentioned = []
    stand_ins: list[Any] = [(_StandIn, name) for name in mentioned]
    try:
        with torch.serialization.safe_globals(stand_ins) if stand_ins else contextlib.nullcontext():
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises what it likes on a corrupt file
        reason = (str(error) or repr(error)).splitlines()[0]
        raise FileFormatError(
            f"{path}: expected a checkpoint that can be read as weights alone, got: {reason} "
            "Where you trust it, save its state_dict by itself with torch.save."
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    if not isinstance(state, Mapping):
        raise FileFormatError(f"{path}: expected a state_dict, got {type(loaded).__name__}. Save it as a dictionary.")
    return {str(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _sizes(state: dict[str, Tensor], path: _Path) -> ShiftConfig:
    """The configuration that the shapes tell."""
    stages = sum(f"encoder.model.{i}.0.weight" in state for i in range(2, 12))
    depth = sum(f"encoder.model.2.1.model.{i}.conv1.weight" in state for i in range(12))
    first, codebook = state.get("encoder.model.0.weight"), state.get("quantizer.codebook")
    if stages < 2 or not depth or first is None or codebook is None or codebook.ndim != 2:
        raise FileFormatError(
            f"{path}: expected an encoder of at least two stages and a codebook (K, D), got {stages} stages of {depth} "
            f"blocks and {'no codebook' if codebook is None else tuple(codebook.shape)}. Check the file."
        )
    return ShiftConfig.paper(
        width=len(first),
        codebook_size=codebook.shape[0],
        code_dim=codebook.shape[1],
        frames_per_latent=2**stages,
        dilations=[_DILATION_GROWTH**i for i in reversed(range(depth))],
    )


@torch.no_grad()
def _fill(stream: Stream, state: dict[str, Tensor], path: _Path) -> None:
    convolutions = _convolutions(stream)
    wanted = {f"{name}.{part}" for name in convolutions for part in ("weight", "bias")} | {"quantizer.codebook"}
    statistics = {"quantizer.code_sum", "quantizer.code_count"}
    missing, more = sorted(wanted - set(state)), sorted(set(state) - wanted - statistics)
    if missing or more:
        raise FileFormatError(
            f"{path}: expected the layers of the released network, got {len(missing)} too few "
            f"({', '.join(missing[:3]) or 'none'}) and {len(more)} too many ({', '.join(more[:3]) or 'none'}). "
            "Check that nothing was cut off or added."
        )
    (quantizer,) = (q for q in stream.quantizer.quantizers() if isinstance(q, EmaQuantizer))
    pairs = [(state["quantizer.codebook"], quantizer.codebook, "quantizer.codebook")]
    for name, convolution in convolutions.items():
        weight = state[f"{name}.weight"]
        pairs.append((weight.permute(2, 1, 0) if weight.ndim == 3 else weight, convolution.weight, f"{name}.weight"))
        pairs.append((state[f"{name}.bias"], convolution.bias, f"{name}.bias"))
    for tensor, target, name in pairs:
        if tensor.shape != target.shape or not bool(tensor.isfinite().all()):
            raise FileFormatError(
                f"{path}: expected {name} of {target.numel()} finite numbers that fit the other layers, got "
                f"{tuple(tensor.shape)} (input and output exchanged) or NaN. Check the file."
            )
        target.copy_(tensor)
    _settle(quantizer, state.get("quantizer.code_count"))


def _settle(quantizer: EmaQuantizer, counts: Tensor | None) -> None:
    """Statistics that keep the codes where they are; the released code saves none, forks of it may save counts."""
    if counts is not None and counts.shape == quantizer.counts.shape and bool((counts > 0).all()):
        quantizer.counts.copy_(counts)
    quantizer.sums.copy_(quantizer.codebook * quantizer.counts[:, None])
    quantizer.ready.fill_(True)


def _convolutions(stream: Stream) -> dict[str, TimeConv]:
    """Our layers by the released code's names."""
    encoder, decoder = stream.encoder, stream.decoder
    stages = len(encoder.blocks)
    named: dict[str, Any] = {
        "encoder.model.0": encoder.first,
        f"encoder.model.{stages + 2}": encoder.last,
        "decoder.model.0": decoder.first,
        f"decoder.model.{stages + 2}": decoder.smooth,
        f"decoder.model.{stages + 4}": decoder.last,
    }
    for i in range(stages):
        named[f"encoder.model.{i + 2}.0"] = encoder.shrink[i]
        named[f"decoder.model.{i + 2}.2"] = decoder.grow[i]
        for place, net in ((f"encoder.model.{i + 2}.1", encoder), (f"decoder.model.{i + 2}.0", decoder)):
            for j, block in enumerate(net.blocks[i]):
                named[f"{place}.model.{j}.conv1"], named[f"{place}.model.{j}.conv2"] = block.wide, block.mix
    return named


def _read_mean_std(mean_std: MeanStd) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (2, 99) in the released order."""
    try:
        if isinstance(mean_std, str | PathLike):
            with np.load(mean_std, allow_pickle=False) as arrays:
                pair = [arrays["mean"], arrays["std"]]
        else:
            pair = [np.load(x, allow_pickle=False) if isinstance(x, str | PathLike) else x for x in mean_std]
        mean, std = (torch.as_tensor(np.asarray(x), dtype=torch.float32).flatten() for x in pair)
    except Exception as error:  # the text of a broken header raises nearly anything
        raise FileFormatError(
            f"mean_std: expected two arrays ({FEATURES},), two .npy files or one .npz with mean and std, got: {error}. "
            "Convert them."
        ) from error
    good = mean.shape == std.shape == (FEATURES,) and bool((mean.isfinite() & std.isfinite() & (std > 0)).all())
    if not good:
        raise FileFormatError(
            f"mean_std: expected ({FEATURES},) finite numbers each, std above 0, got {tuple(mean.shape)} and "
            f"{tuple(std.shape)}. Take the files that the checkpoints were trained with."
        )
    return mean.unflatten(0, (HANDS, HAND_FEATURES)), std.unflatten(0, (HANDS, HAND_FEATURES))
