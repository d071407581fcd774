"""The evaluator: it learns, ignores its batch, survives being cut off, and comes back from disk the same."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm.evaluation import Evaluator, EvaluatorConfig, retrieval, train_evaluator
from clutch_llm.evaluation.batches import PairSampler, attribute_classes
from clutch_llm.evaluation.training import contrastive_loss
from clutch_llm.evaluation.vocabulary import UNKNOWN, WordVocabulary, swap_sides

_spec = importlib.util.spec_from_file_location("evaluation_clips", Path(__file__).with_name("evaluation_clips.py"))
assert _spec is not None
evaluation_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = evaluation_clips
_spec.loader.exec_module(evaluation_clips)  # type: ignore[union-attr]
make_clips = evaluation_clips.make_clips

TINY = EvaluatorConfig(width=32, hidden=24, embedding=16, word_width=16, steps=90, batch_size=32, learning_rate=4e-3)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny steps on a busy machine: threads that wait for each other cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained() -> tuple[Evaluator, list[dict[str, float]]]:
    clips = make_clips(160) + make_clips(60, source="fingerspelling", first=500)
    return train_evaluator(clips, TINY, val_clips=make_clips(64, first=2000), seed=1)


def test_a_short_training_beats_chance_on_clips_it_never_saw(trained: Any) -> None:
    evaluator, history = trained
    found = retrieval(evaluator, make_clips(64, first=3000), group_size=16)["procedural"]
    assert found["top3"] > 2.5 * 3 / 16
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[-1]["val_procedural_top3"] > 2 * 3 / 32


def test_embeddings_are_unit_vectors_that_ignore_the_batch(trained: Any) -> None:
    evaluator, _ = trained
    motions = [c["features"] for c in make_clips(9)]
    together = evaluator.embed_motions(motions)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, rtol=1e-5)
    alone = np.concatenate([evaluator.embed_motions([m]) for m in motions])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_frames_beyond_the_end_change_nothing(trained: Any) -> None:
    evaluator, _ = trained
    x = torch.randn(1, 22, 198, generator=torch.Generator().manual_seed(0))
    poisoned = torch.cat([x, torch.full((1, 10, 198), 1e3)], 1)
    with torch.no_grad():
        short = evaluator.motion(x, torch.tensor([22]))
        long = evaluator.motion(poisoned, torch.tensor([22]))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=1e-5)


def test_equal_captions_get_equal_vectors(trained: Any) -> None:
    evaluator, _ = trained
    texts = ["the left hand swings", "an unheard-of sentence", "the left hand swings", ""]
    out = evaluator.embed_texts(texts)
    np.testing.assert_array_equal(out[0], out[2])
    assert np.isfinite(out).all()


def test_save_and_load_give_the_same_embeddings(trained: Any, tmp_path: Path) -> None:
    evaluator, _ = trained
    evaluator.save_pretrained(tmp_path)
    again = Evaluator.from_pretrained(tmp_path)
    motions = [c["features"] for c in make_clips(3)]
    np.testing.assert_array_equal(evaluator.embed_motions(motions), again.embed_motions(motions))
    np.testing.assert_array_equal(evaluator.embed_texts(["the left hand"]), again.embed_texts(["the left hand"]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_damaged_files_are_named(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        Evaluator.from_pretrained(tmp_path)
    trained[0].save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        Evaluator.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"words": config["words"][:-1]}))
    with pytest.raises(ValueError, match="weights that fit"):
        Evaluator.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="damaged"):
        Evaluator.from_pretrained(tmp_path)


def _weights(evaluator: Evaluator) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in evaluator.state_dict().items()}


def test_a_training_that_was_cut_off_ends_as_if_it_never_was(tmp_path: Path) -> None:
    clips = make_clips(40)
    config = dataclasses.replace(TINY, steps=8, checkpoint_every=3)
    whole, history = train_evaluator(clips, config, seed=3)

    class CutError(Exception):
        pass

    def cut(step: int, _: dict[str, float]) -> None:
        raise CutError

    torch.manual_seed(99)
    with pytest.raises(CutError):
        train_evaluator(clips, config, seed=3, on_log=cut, checkpoint_dir=tmp_path)
    assert (tmp_path / "training_state.safetensors").is_file()
    resumed, history_again = train_evaluator(clips, config, seed=3, checkpoint_dir=tmp_path)
    assert history_again == history
    for name, value in _weights(whole).items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert list(tmp_path.iterdir()) == []


def test_a_state_of_another_configuration_is_ignored(tmp_path: Path) -> None:
    clips = make_clips(24)
    state = tmp_path / "training_state.safetensors"
    config = dataclasses.replace(TINY, steps=4, checkpoint_every=2)

    def cut(step: int, _: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_evaluator(clips, config, seed=0, on_log=cut, checkpoint_dir=tmp_path)
    kept = state.read_bytes()
    fresh, _ = train_evaluator(clips, config, seed=1)
    state.write_bytes(kept)
    other, _ = train_evaluator(clips, config, seed=1, checkpoint_dir=tmp_path)
    for name, value in _weights(fresh).items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_damaged_state_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "training_state.safetensors").write_bytes(b"not a state")
    _, history = train_evaluator(make_clips(16), dataclasses.replace(TINY, steps=2), checkpoint_dir=tmp_path)
    assert history[-1]["step"] == 2


def test_the_same_seed_gives_the_same_evaluator() -> None:
    config = dataclasses.replace(TINY, steps=3)
    first, _ = train_evaluator(make_clips(16), config, seed=5)
    torch.manual_seed(1234)
    second, _ = train_evaluator(make_clips(16), config, seed=5)
    other, _ = train_evaluator(make_clips(16), config, seed=6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_clips_that_share_a_caption_are_no_negatives() -> None:
    clips = make_clips(20)
    vocabulary = WordVocabulary.build(t for c in clips for t in c["captions"])
    config = dataclasses.replace(TINY, batch_size=20, drop_words=0.0, mirror=0.0)
    batch = PairSampler(clips, config, vocabulary, {}, None).draw(torch.Generator().manual_seed(0), lambda x: x)
    texts = [tuple(ids[ids != 0].tolist()) for ids in batch.ids]
    same_text = torch.tensor([[a == b for b in texts] for a in texts])
    assert same_text.sum() > 20
    assert batch.false_negative[same_text & ~torch.eye(20, dtype=torch.bool)].all()
    assert not batch.false_negative.diagonal().any()


def test_masked_negatives_do_not_count() -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    none = torch.zeros(3, 3, dtype=torch.bool)
    twins = none.clone()
    twins[0, 1] = twins[1, 0] = True
    scale = torch.tensor(3.0)
    assert contrastive_loss(vectors, vectors, scale, twins) < contrastive_loss(vectors, vectors, scale, none) - 0.1


def test_mirroring_swaps_hands_words_and_attributes() -> None:
    clips = [c | {"captions": c["captions"][:1]} for c in make_clips(12)]
    attributes = attribute_classes(clips)
    assert attributes == {"hand": ["left", "right"], "speed": ["quickly", "slowly"]}
    words = WordVocabulary.build(t for c in clips for t in c["captions"])
    config = dataclasses.replace(TINY, mirror=1.0, drop_frames=0.0, drop_words=0.0, noise=0.0, offset=0.0)
    swapped = []

    def note(features: torch.Tensor) -> torch.Tensor:
        swapped.append(len(features))
        return features.roll(99, -1)

    sampler = PairSampler(clips, config, words, attributes, note)
    batch = sampler.draw(torch.Generator().manual_seed(0), lambda x: x)
    assert swapped == [12]
    left, right = (words.encode([w])[0, 0] for w in ("left", "right"))
    said_left = (batch.ids == left).any(1)
    assert torch.equal(said_left, ~(batch.ids == right).any(1))
    assert torch.equal(batch.labels[:, 0] == 0, said_left)
    # the swinging hand moves more than the resting one
    spread = [
        [f[:n, h * 99 + 96 : h * 99 + 99].std(0).max() for h in (0, 1)]
        for f, n in zip(batch.features, batch.lengths, strict=True)
    ]
    assert torch.equal(torch.tensor([a > b for a, b in spread]), said_left)


def test_dropped_frames_keep_their_order() -> None:
    clips = make_clips(8)
    for clip in clips:
        clip["features"] = np.repeat(np.arange(len(clip["features"]), dtype=np.float32)[:, None], 198, 1)
    words = WordVocabulary.build(t for c in clips for t in c["captions"])
    config = dataclasses.replace(TINY, drop_frames=0.6, noise=0.0, offset=0.0, mirror=0.0)
    batch = PairSampler(clips, config, words, {}, None).draw(torch.Generator().manual_seed(0), lambda x: x)
    assert (batch.lengths >= 4).all()
    assert (batch.lengths < torch.tensor(28)).any()
    for row, length in zip(batch.features[..., 0], batch.lengths, strict=True):
        assert (row[1:length] > row[: length - 1]).all()


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("the left hand", "the right hand"),
        ("Right over left, clockwise", "Left over right, counterclockwise"),
        ("leftover rights", "leftover rights"),
    ],
)
def test_sides_are_swapped_as_words(text: str, mirrored: str) -> None:
    assert swap_sides(text) == mirrored
    assert swap_sides(mirrored) == text


def test_unknown_words_have_an_id_of_their_own() -> None:
    words = WordVocabulary.build(["wave wave fist", "Été"])
    assert words.words[0] == "wave"
    assert words.encode(["Wave, été!", "zebra", ""]).tolist() == [[2, 4], [UNKNOWN, 0], [UNKNOWN, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": 1}, "batch_size"),
        ({"mirror": 1.5}, "mirror"),
        ({"noise": -1.0}, "noise"),
        ({"max_frames": 2}, "max_frames"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluatorConfig(**change)


def test_unusable_clips_are_named() -> None:
    clips = make_clips(4)
    with pytest.raises(ValueError, match="at least 2 clips"):
        train_evaluator(clips[:1], TINY)
    with pytest.raises(ValueError, match="procedural-0001"):
        train_evaluator([clips[0], clips[1] | {"captions": []}], TINY)
    with pytest.raises(ValueError, match="procedural-0002"):
        train_evaluator([clips[0], clips[2] | {"features": np.zeros((8, 3))}], TINY)
    with pytest.raises(ValueError, match="source_weights"):
        train_evaluator(clips, dataclasses.replace(TINY, source_weights={"elsewhere": 1.0}))


def test_broken_motions_are_refused(trained: Any) -> None:
    with pytest.raises(ValueError, match="motion 1"):
        trained[0].embed_motions([np.zeros((8, 198)), np.zeros((8, 7))])
    with pytest.raises(ValueError, match="finite"):
        trained[0].embed_motions([np.full((8, 198), np.nan)])
