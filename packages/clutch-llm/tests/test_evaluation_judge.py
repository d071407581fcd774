"""The judge: it learns true joints, sees nothing else, and its table says which arm does what was asked."""

from __future__ import annotations

import importlib.util
import json
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm.evaluation import Judge, JudgeConfig, believed_shares, judge_motions, judge_training, train_judge
from clutch_llm.evaluation.judge import coordinates, joints_of
from clutch_llm.evaluation.judgement import right_answers
from clutch_llm.evaluation.unseen import filled

_spec = importlib.util.spec_from_file_location("evaluation_clips", Path(__file__).with_name("evaluation_clips.py"))
assert _spec is not None
evaluation_clips = importlib.util.module_from_spec(_spec)
sys.modules["evaluation_clips"] = evaluation_clips
_spec.loader.exec_module(evaluation_clips)  # type: ignore[union-attr]
make_clips = evaluation_clips.make_clips

Clips = list[dict[str, Any]]
TINY = JudgeConfig(width=24, steps=120, batch_size=32, learning_rate=1e-2, dropout=0.1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _with_luck(clips: Clips) -> Clips:
    """An attribute that no motion shows."""
    rng = np.random.default_rng(0)
    for clip in clips:
        clip["attributes"]["luck"] = str(rng.choice(["good", "bad"]))
    return clips


@pytest.fixture(scope="module")
def trained() -> tuple[Judge, list[dict[str, float]]]:
    plain = make_clips(40, source="plain", first=900)
    for clip in plain:
        clip["attributes"] = {"synthetic": True}
    clips = _with_luck(make_clips(160)) + plain
    return train_judge(clips, TINY, val_clips=_with_luck(make_clips(60, first=2000)), seed=1, data_hash="abc")


@pytest.fixture(scope="module")
def clips() -> Clips:
    return _with_luck(make_clips(40, first=3000, split="test"))


def test_it_names_what_true_motion_shows_and_says_what_it_cannot_tell(trained: Any) -> None:
    judge, history = trained
    assert judge.reliability["procedural"]["hand"]["accuracy"] > 0.95
    assert judge.learnt("procedural", "hand")
    assert judge.learnt("procedural", "speed")
    assert not judge.learnt("procedural", "luck")
    assert set(judge.classes["procedural"]) == {"hand", "speed", "luck"}
    assert judge.classes["plain"] == {}
    assert history[-1]["val_procedural_hand"] == judge.reliability["procedural"]["hand"]["accuracy"]


@pytest.mark.parametrize(
    ("right", "first", "learnt"),
    [
        (12, 10, False),  # 0.60 +- 2 x 0.110, of which guessing gets 0.50
        (18, 10, True),  # 0.90 +- 2 x 0.067
        (20, 19, False),  # all of them, but guessing gets 0.95; the error is that of one clip in twenty
        (20, 17, True),  # 1.00 +- 2 x 0.05, of which guessing gets 0.85
    ],
)
def test_learnt_is_what_is_named_better_than_by_guessing(
    monkeypatch: pytest.MonkeyPatch, right: int, first: int, learnt: bool
) -> None:
    clips = make_clips(20)
    for k, clip in enumerate(clips):
        clip["attributes"]["hand"] = "left" if k < first else "right"
    known = {"hand": np.array([1.0] * right + [0.0] * (20 - right))}
    monkeypatch.setattr(judge_training, "right_answers", lambda *_: known)
    judge = Judge(TINY, {"procedural": {"hand": ["left", "right"]}})
    judge_training._note_reliability(judge, clips)
    found = judge.reliability["procedural"]["hand"]
    assert (found["accuracy"], found["majority"], found["clips"]) == (right / 20, first / 20, 20)
    assert judge.learnt("procedural", "hand") is learnt


def test_the_table_says_which_arm_does_what_was_asked(trained: Any, clips: Clips) -> None:
    judge, _ = trained
    truth = [c["features"] for c in clips]
    hands = [c["attributes"]["hand"] for c in clips]
    swapped = [truth[next(j for j in range(40) if hands[j] != hand)] for hand in hands]  # the other hand moves
    for k, clip in enumerate(clips):
        clip["attributes"]["unseen"] = bool(k % 2)
    arms = {
        "is_truth": [[f] for f in truth],
        "other_hand": [[f] for f in swapped],
        "half": [[f, s] for f, s in zip(truth, swapped, strict=True)],
        "seen_only": [[(truth, swapped)[k % 2][k]] for k in range(len(clips))],
    }
    found = judge_motions(judge, clips, arms, swapped, split_by=["unseen"])["procedural"]
    rows = found["rows"]
    assert list(rows) == ["truth", "reconstruction", *arms, "random_caption", "chance"]
    assert rows["is_truth"] == rows["truth"]
    assert rows["truth"]["hand"] > 0.9
    assert rows["truth"]["hand_ci95_low"] <= rows["truth"]["hand"] <= rows["truth"]["hand_ci95_high"]
    assert rows["other_hand"]["hand"] < 0.1
    assert rows["reconstruction"] == rows["other_hand"]
    assert rows["half"]["hand"] == pytest.approx((rows["is_truth"]["hand"] + rows["other_hand"]["hand"]) / 2)
    assert rows["random_caption"]["hand"] < 0.85
    most = max(sum(c["attributes"]["hand"] == h for c in clips) for h in ("left", "right"))
    assert rows["chance"]["hand"] == most / 40
    assert found["parts"]["unseen"]["false"]["rows"]["seen_only"]["hand"] > 0.9
    assert found["parts"]["unseen"]["true"]["rows"]["seen_only"]["hand"] < 0.1
    assert found["attributes"]["luck"] == {"values": 2, "learnt": False}
    json.dumps(found, allow_nan=False)


def test_what_an_arm_was_not_told_says_nothing(trained: Any, clips: Clips) -> None:
    judge, _ = trained
    truth = [[c["features"]] for c in clips]
    found = judge_motions(judge, clips, {"told": truth, "terse": truth}, told={"terse": ("family",)})["procedural"]
    assert found["rows"]["told"] == found["rows"]["truth"]
    assert found["rows"]["terse"]["hand"] is None
    assert found["rows"]["terse"]["hand_ci95_low"] is None
    assert found["by_second"]["hand"]["told"]["second_1"] is not None
    assert found["by_second"]["hand"]["terse"]["second_1"] is None
    hands = judge_motions(judge, clips, {"terse": truth}, told={"terse": ("hand",)})["procedural"]["rows"]
    assert hands["terse"]["hand"] == hands["truth"]["hand"]


def test_a_source_without_attributes_is_left_out(trained: Any) -> None:
    judge, _ = trained
    plain = make_clips(3, source="plain")
    assert judge_motions(judge, plain, [[c["features"]] for c in plain]) == {}
    assert judge.name_features([plain[0]["features"]], "plain") == {}
    nobody, history = train_judge([c | {"attributes": {}} for c in plain], TINY)
    assert history == []
    assert nobody.answers == []


def test_a_value_that_training_has_not_seen_counts_neither_way(trained: Any, clips: Clips) -> None:
    judge, _ = trained
    odd = [c | {"attributes": c["attributes"] | {"hand": "third"}} if k < 10 else c for k, c in enumerate(clips)]
    rows = judge_motions(judge, odd, [[c["features"]] for c in odd])["procedural"]["rows"]
    rest = judge_motions(judge, clips[10:], [[c["features"]] for c in clips[10:]])["procedural"]["rows"]
    assert rows["truth"]["hand"] == rest["truth"]["hand"]
    none = [c | {"attributes": {}} for c in clips]
    assert judge_motions(judge, none, [[c["features"]] for c in none])["procedural"]["rows"]["truth"]["hand"] is None


def test_what_it_says_ignores_the_batch_and_where_the_motion_is(trained: Any, clips: Clips) -> None:
    judge, _ = trained
    joints = joints_of([c["features"] for c in clips[:12]])
    together = judge.name(joints, "procedural")
    alone = [judge.name([j], "procedural") for j in joints]
    for attribute, answers in together.items():
        assert [a[attribute][0] for a in alone] == answers
    assert judge.name([j + np.array([1.0, 2.0, -3.0]) for j in joints], "procedural") == together
    x = torch.from_numpy(coordinates(joints[0]))[None]
    poisoned = torch.cat([x, torch.full((1, 9, 126), 1e3)], 1)
    with torch.no_grad():
        short, long = judge(x, torch.tensor([x.shape[1]])), judge(poisoned, torch.tensor([x.shape[1]]))
    for a, b in zip(short, long, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_coordinates_by_hand() -> None:
    joints = np.zeros((4, 2, 21, 3))
    joints[:, 0, 0] = [1, 0, 0]  # left wrist
    joints[:, 1, 0] = [3, 0, 0]  # right wrist: the mean of both in frame 0 is at 2
    joints[:, 0, 5] = [1, 0.1, 0]
    joints[2, 1, 0] = [3, 0, 7]
    rows = coordinates(joints).reshape(4, 2, 21, 3)
    np.testing.assert_allclose(rows[0, :, 0], [[-1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(rows[0, 0, 5], [0, 0.1, 0], atol=1e-7)
    np.testing.assert_allclose(rows[2, 1, 0], [1, 0, 7])
    np.testing.assert_allclose(rows[2, 1, 1], [-3, 0, -7])


def test_what_stands_in_the_frames_of_an_unseen_hand_teaches_nothing() -> None:
    clean, poisoned = make_clips(20), make_clips(20)
    for k, (a, b) in enumerate(zip(clean, poisoned, strict=True)):
        a["valid"][4:8, 0] = b["valid"][4:8, 0] = False
        a["valid"][:, 1] = b["valid"][:, 1] = k % 2 == 0
        b["features"][4:8, :99] = np.nan
        if k % 2:
            b["features"][:, 99:] = (0.0, np.nan)[k % 4 // 2]
    config = JudgeConfig(width=8, steps=3, batch_size=8)
    first, _ = train_judge(clean, config, data_hash="x")
    second, _ = train_judge(poisoned, config, data_hash="x")
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert judge_motions(first, clean, [[c["features"]] for c in clean]) == judge_motions(
        first, poisoned, [[c["features"]] for c in clean]
    )


def test_it_is_saved_with_its_seed_and_data_and_comes_back_the_same(trained: Any, clips: Clips, tmp_path: Path) -> None:
    judge, _ = trained
    judge.save_pretrained(tmp_path / "judge")
    again = Judge.from_pretrained(tmp_path / "judge")
    assert (again.seed, again.data_hash) == (1, "abc")
    assert again.reliability == judge.reliability
    motions = [c["features"] for c in clips]
    assert again.name_features(motions, "procedural") == judge.name_features(motions, "procedural")
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    for path in (tmp_path / "judge").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode), path.name
    assert sorted(p.name for p in (tmp_path / "judge").iterdir()) == ["config.json", "model.safetensors"]
    record = json.loads((tmp_path / "judge/config.json").read_text())
    (tmp_path / "judge/config.json").write_text(json.dumps(record | {"format": "clutch-evaluator"}))
    with pytest.raises(ValueError, match="Expected 'clutch-judge'"):
        Judge.from_pretrained(tmp_path / "judge")


def test_the_same_seed_gives_the_same_judge_and_another_another() -> None:
    config = JudgeConfig(width=8, steps=3, batch_size=8)
    torch.manual_seed(5)
    first, _ = train_judge(make_clips(12), config, seed=3)
    torch.manual_seed(6)
    second, _ = train_judge(make_clips(12), config, seed=3)
    other, _ = train_judge(make_clips(12), config, seed=4)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    assert all(same)
    assert first.data_hash == second.data_hash != other.data_hash
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_training_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    config = JudgeConfig(width=8, steps=24, batch_size=8, checkpoint_every=5)
    whole, history = train_judge(make_clips(12), config, seed=3)

    def cut(step: int, _: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_judge(make_clips(12), config, seed=3, on_log=cut, checkpoint_dir=tmp_path)
    assert (tmp_path / "training_state.safetensors").is_file()
    again, history_again = train_judge(make_clips(12), config, seed=3, checkpoint_dir=tmp_path)
    assert len(history_again) == len(history)
    assert list(tmp_path.iterdir()) == []
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_the_lower_of_r_precision_and_the_judge_is_believed() -> None:
    rows = {"reconstruction": {"r_precision_top3": 0.8}, "generated": {"r_precision_top3": 0.72}}
    t2m = {"hands": {"rows": rows, "samples_per_caption": {"generated": 2}}}
    judged = {
        "hands": {
            "attributes": {"action": {"learnt": True}, "speed": {"learnt": True}, "luck": {"learnt": False}},
            "rows": {
                "reconstruction": {"action": 1.0, "speed": 0.5, "luck": 0.5},
                "generated": {"action": 0.6, "speed": 0.4, "luck": 0.0},
            },
        }
    }
    found = believed_shares(t2m, judged)["hands"]["generated"]
    assert found["r_precision_top3"] == pytest.approx(0.9)
    assert (found["believed"], found["believed_by"]) == (pytest.approx(0.6), "judge_action")
    assert found["judge_speed"] == pytest.approx(0.8)
    assert "judge_luck" not in found
    alone = believed_shares(t2m, {})["hands"]["generated"]
    assert (alone["believed"], alone["believed_by"]) == (pytest.approx(0.9), "r_precision_top3")
    rows["generated"]["r_precision_top3"] = None
    assert believed_shares(t2m, {})["hands"]["generated"]["believed"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"dropout": 1.0}, "dropout"),
        ({"dilations": ()}, "dilations"),
        ({"noise": -1}, "noise"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JudgeConfig(**change)


def test_broken_motions_are_refused(trained: Any) -> None:
    with pytest.raises(ValueError, match=r"\(T >= 4, 2, 21, 3\)"):
        trained[0].name([np.zeros((3, 2, 21, 3))], "procedural")
    with pytest.raises(ValueError, match="finite"):
        trained[0].name([np.full((4, 2, 21, 3), np.nan)], "procedural")
    with pytest.raises(ValueError, match="at least 2 clips"):
        train_judge(make_clips(1))


def test_each_second_is_judged_as_a_motion_of_its_own(trained: Any, clips: Clips) -> None:
    judge, _ = trained
    truth = filled(clips, judge.filler.numpy())
    found = judge_motions(judge, clips, [[motion, motion[::-1].copy()] for motion in truth])["procedural"]["by_second"]
    assert set(found) == {"hand", "speed"}
    for second in range(max(len(m) for m in truth) // 15):
        cut = {i: m[15 * second : 15 * (second + 1)] for i, m in enumerate(truth)}
        own = [i for i, m in cut.items() if len(m) >= 8]
        right = right_answers(judge, [clips[i] for i in own], [[cut[i]] for i in own])
        for attribute, rows in found.items():
            key = f"second_{second + 1}"
            assert rows["truth"][key] == pytest.approx(np.nanmean(right[attribute]), abs=1e-9)
    assert "second_1" in found["hand"]["generated"]


@pytest.mark.parametrize("count", [3, 16, 100])
def test_batches_are_of_clips_of_like_lengths_and_all_clips_are_drawn_alike(count: int) -> None:
    config = JudgeConfig(batch_size=8)
    sampler = judge_training._Sampler.__new__(judge_training._Sampler)
    sampler.judge = SimpleNamespace(config=config)
    sampler.lengths = torch.arange(count).roll(5) + 4
    generator = torch.Generator().manual_seed(0)
    drawn = [sampler._alike(generator) for _ in range(600)]
    assert {len(set(picks.tolist())) for picks in drawn} == {min(8, count)}
    counts = torch.bincount(torch.cat(drawn), minlength=count).float()
    assert counts.min() > 0.6 * counts.mean()
    spread = np.mean([float(np.ptp(sampler.lengths[picks].numpy())) for picks in drawn])
    assert spread < {3: 3, 16: 9, 100: 40}[count]  # at random, eight of 100 lengths spread over 78
