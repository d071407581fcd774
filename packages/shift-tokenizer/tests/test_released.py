import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from shift_tokenizer import (
    FileFormatError,
    ShapeError,
    ShiftConfig,
    ShiftTokenizer,
    import_released_checkpoint,
    released_ids_to_tokens,
    swap_hands,
    tokens_to_released_ids,
)

from .released_network import ReleasedTokenizer

Change = Callable[[dict], None]


@pytest.fixture
def released() -> ReleasedTokenizer:
    torch.manual_seed(0)
    model = ReleasedTokenizer(size=40, width=24, dim=12).eval()
    with torch.no_grad():
        for part in (model.traj_model, model.hp_model):
            latents = part.latents(torch.randn(30, 16, 99)).flatten(0, 1)
            part.codebook.copy_(latents[torch.randperm(len(latents))[:40]])
    return model


def save_both(released: ReleasedTokenizer, folder: Path, head: str = "vae.", **more: object) -> tuple[Path, Path]:
    paths = folder / "traj.ckpt", folder / "pose.ckpt"
    for path, model in zip(paths, (released.traj_model, released.hp_model), strict=True):
        state = {head + name: tensor for name, tensor in model.state_dict().items()}
        torch.save({"state_dict": {**state, "metrics.count": torch.zeros(3)}, "epoch": 7, **more}, path)
    return paths


def motion() -> torch.Tensor:
    return torch.randn(3, 32, 198, generator=torch.Generator().manual_seed(1))


def statistics() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=198).astype("f4"), rng.uniform(0.3, 2, 198).astype("f4")


def test_the_stand_in_has_the_published_names_and_sizes() -> None:
    with torch.device("meta"):
        published = ReleasedTokenizer(size=4096, width=512, dim=64)
    shapes = {name: tuple(tensor.shape) for name, tensor in published.state_dict().items()}
    assert len(shapes) == 134
    assert sum(p.numel() for p in published.parameters()) == 34_960_099
    assert shapes["traj_model.encoder.model.3.1.model.2.conv2.weight"] == (512, 512, 1)
    assert shapes["hp_model.handpose_decoder.model.6.weight"] == (90, 512, 3)
    assert shapes["traj_model.traj_quantizer.codebook"] == (4096, 64)


@pytest.mark.parametrize("head", ["vae.", "", "model."])
@pytest.mark.parametrize("normalised", [True, False])
def test_an_import_gives_the_same_codes_and_the_same_motion(
    released: ReleasedTokenizer, tmp_path: Path, head: str, normalised: bool
) -> None:
    mean, std = (None, None) if normalised else statistics()
    tokenizer = import_released_checkpoint(*save_both(released, tmp_path, head), None if normalised else (mean, std))
    theirs = motion()
    if not normalised:
        mean, std = torch.from_numpy(mean), torch.from_numpy(std)
        theirs = theirs * std + mean
    with torch.no_grad():
        ids = released.encode(motion())
        decoded = released.decode(ids)
    if not normalised:
        decoded = decoded * std + mean
    tokens = tokenizer.encode(swap_hands(theirs))
    assert torch.equal(tokens_to_released_ids(tokens, tokenizer.config), ids)
    assert len(tokens.unique()) > 20
    torch.testing.assert_close(swap_hands(tokenizer.decode(tokens)), decoded, atol=2e-5, rtol=1e-4)
    assert torch.equal(released_ids_to_tokens(ids, tokenizer.config), tokens)
    assert tokenizer.config == ShiftConfig.paper(width=24, codebook_size=40, code_dim=12)


def test_one_file_may_hold_both_models(released: ReleasedTokenizer, tmp_path: Path) -> None:
    state = {f"vae.{name}": tensor for name, tensor in released.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "both.ckpt")
    tokenizer = import_released_checkpoint(tmp_path / "both.ckpt", tmp_path / "both.ckpt")
    with torch.no_grad():
        ids = released.encode(motion())
    assert torch.equal(released_ids_to_tokens(ids, tokenizer.config), tokenizer.encode(swap_hands(motion())))


def test_other_depths_are_read_off_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(3)
    released = ReleasedTokenizer(size=16, width=8, dim=4, stages=3, depth=2)
    tokenizer = import_released_checkpoint(*save_both(released, tmp_path))
    assert (tokenizer.config.frames_per_latent, tokenizer.config.dilations) == (8, (3, 1))
    with torch.no_grad():
        ids = released.encode(motion())
        torch.testing.assert_close(
            tokenizer.decode(released_ids_to_tokens(ids, tokenizer.config)),
            swap_hands(released.decode(ids)),
            atol=2e-5,
            rtol=1e-4,
        )


def test_an_imported_tokenizer_can_be_saved_and_trained_further(released: ReleasedTokenizer, tmp_path: Path) -> None:
    tokenizer = import_released_checkpoint(*save_both(released, tmp_path), statistics())
    tokenizer.save_pretrained(tmp_path / "ours")
    loaded = ShiftTokenizer.from_pretrained(tmp_path / "ours")
    assert torch.equal(loaded.encode(motion()), tokenizer.encode(motion()))
    for stream in tokenizer.stream_list():
        (quantizer,) = stream.quantizer.quantizers()
        before = quantizer.codebook.clone()
        quantizer.initialise(torch.randn(50, 12), torch.Generator())
        assert torch.equal(quantizer.codebook, before)
        torch.testing.assert_close(quantizer.sums / quantizer.counts[:, None], before)


def test_mean_and_std_are_read_from_files(released: ReleasedTokenizer, tmp_path: Path) -> None:
    paths, (mean, std) = save_both(released, tmp_path), statistics()
    np.save(tmp_path / "mean.npy", mean)
    np.save(tmp_path / "std.npy", std)
    np.savez(tmp_path / "both.npz", mean=mean, std=std)
    sources = [(mean, std), (tmp_path / "mean.npy", tmp_path / "std.npy"), tmp_path / "both.npz"]
    made = [import_released_checkpoint(*paths, source) for source in sources]
    for tokenizer in made:
        assert tokenizer.mean.flatten().tolist() == [*mean[99:].tolist(), *mean[:99].tolist()]
        assert torch.equal(tokenizer.std, made[0].std)
    for wrong in ((mean[:99], std[:99]), (mean, 0 * std), tmp_path / "nowhere.npz", (mean,), (mean, std * np.nan)):
        with pytest.raises(FileFormatError, match=r"mean_std: expected"):
            import_released_checkpoint(*paths, wrong)


def test_classes_that_are_not_installed_are_passed_over(
    released: ReleasedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning keeps hyperparameters, often as objects of OmegaConf; they must neither be needed nor run."""
    module = ModuleType("some_configuration_library")

    class Hyper:
        def __setstate__(self, state: dict) -> None:
            raise AssertionError("code of the checkpoint's classes ran")

    Hyper.__module__, Hyper.__qualname__ = module.__name__, "Hyper"
    module.Hyper = Hyper
    monkeypatch.setitem(sys.modules, module.__name__, module)
    hyper = Hyper()
    hyper.depth = 3
    paths = save_both(released, tmp_path, hyper_parameters={"cfg": hyper})
    assert import_released_checkpoint(*paths).config.width == 24
    monkeypatch.delitem(sys.modules, module.__name__)
    assert import_released_checkpoint(*paths).config.width == 24


class _Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


class _Shell:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        import os

        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("evil", [_Evil, _Shell])
@pytest.mark.parametrize("old_format", [True, False])
def test_a_checkpoint_that_brings_code_never_runs_it(
    released: ReleasedTokenizer, tmp_path: Path, evil: type, old_format: bool
) -> None:
    paths, mark = save_both(released, tmp_path), tmp_path / "mark"
    content = torch.load(paths[0], weights_only=True) | {"callbacks": evil(mark)}
    torch.save(content, paths[0], _use_new_zipfile_serialization=not old_format)
    with contextlib.suppress(FileFormatError):  # refused, or read without it: both will do
        import_released_checkpoint(*paths)
    assert not mark.exists()


def _change(name: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def change(content: dict) -> None:
        content["state_dict"][name] = make(content["state_dict"][name])

    return change


def _add(name: str) -> Change:
    return lambda content: content["state_dict"].update({name: torch.zeros(3)})


def _drop(name: str) -> Change:
    return lambda content: content["state_dict"].pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop("vae.encoder.model.4.bias"), r"1 too few \(encoder\.model\.4\.bias\)"),
        (_add("vae.encoder.model.9.bias"), r"1 too many \(encoder\.model\.9\.bias\)"),
        (_drop("vae.traj_quantizer.codebook"), "no codebook"),
        (_change("vae.traj_quantizer.codebook", lambda t: t[:, 0]), r"codebook \(K, D\)"),
        (_change("vae.encoder.model.4.weight", lambda t: t[:5]), r"encoder\.model\.4\.weight"),
        (_change("vae.traj_decoder.model.6.weight", lambda t: t[:8]), r"decoder\.model\.6\.weight"),
        (_change("vae.traj_decoder.model.6.bias", lambda t: t * torch.nan), "finite"),
        (lambda content: content.update(state_dict=[1]), "state_dict, got"),
        (lambda content: content.update(state_dict={"a": torch.zeros(1)}), "got a. Check"),
    ],
)
def test_an_odd_checkpoint_is_refused_by_name(
    released: ReleasedTokenizer, tmp_path: Path, change: Change, message: str
) -> None:
    paths = save_both(released, tmp_path)
    content = torch.load(paths[0], weights_only=True)
    change(content)
    torch.save(content, paths[0])
    with pytest.raises(FileFormatError, match=rf"traj\.ckpt.*{message}"):
        import_released_checkpoint(*paths)


def test_files_that_are_no_checkpoints_are_refused(released: ReleasedTokenizer, tmp_path: Path) -> None:
    traj, pose = save_both(released, tmp_path)
    with pytest.raises(FileFormatError, match="expected weights named encoder"):
        import_released_checkpoint(pose, traj)
    with pytest.raises(FileFormatError, match="expected a checkpoint file, got none"):
        import_released_checkpoint(tmp_path / "nowhere.ckpt", pose)
    for content in (b"", b"hello", traj.read_bytes()[:5000]):
        (tmp_path / "broken.ckpt").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"broken\.ckpt: expected a checkpoint"):
            import_released_checkpoint(tmp_path / "broken.ckpt", pose)
    (tmp_path / "other").mkdir()
    other = save_both(ReleasedTokenizer(size=20, width=24, dim=12), tmp_path / "other")
    with pytest.raises(FileFormatError, match=r"pose\.ckpt: expected the sizes .* 40 x 12 codes.* got .* 20 x 12"):
        import_released_checkpoint(traj, other[1])


def test_ids_in_a_wrong_slot_are_refused() -> None:
    config = ShiftConfig.paper()
    ids = torch.tensor([1, 4096 + 2, 3, 4096 + 4])
    assert released_ids_to_tokens(ids, config).tolist() == [[3, 4, 1, 2]]
    for wrong in ([1, 2, 3, 4], [4097, 4098, 3, 4100], [1, 8192, 3, 4100], [-1, 4098, 3, 4100]):
        with pytest.raises(ShapeError, match="wrong slot"):
            released_ids_to_tokens(torch.tensor(wrong), config)
    with pytest.raises(ShapeError, match="whole step"):
        released_ids_to_tokens(ids[:3], config)
    with pytest.raises(ShapeError, match="whole steps"):
        tokens_to_released_ids(torch.zeros(3, 3), config)
    with pytest.raises(ShapeError, match="slot"):
        tokens_to_released_ids(torch.zeros(3, 1), ShiftConfig(decomposition="plain"))
