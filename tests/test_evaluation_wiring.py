"""Which model, clips and texts reach each measurement, and where its figures go; the work is stood in for."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import RefineConfig

from pipelines import evaluation, studies
from pipelines.protocol import Protocol, seconds_of
from tests.wiring_stand_ins import TOKENS, Store, clip


class Model:
    """A language model that says of each motion who drew it, from what and how."""

    def __init__(self, name: str) -> None:
        self.name = name

    max_seconds = 0.9

    def generate(self, texts, seconds, *, samples, seed, temperature, guidance):
        asked = zip(texts, seed, seconds or [None] * len(texts), strict=True)
        drawn = [f"{self.name}: {t} | {own} s, {temperature}, {guidance}, seed {s}" for t, s, own in asked]
        return [[{"features": f"{one}, sample {k}"} for k in range(samples)] for one in drawn]

    def caption(self, motions, valid, fps, *, detailed):
        return [
            f"{self.name} of {float(m[0, 0]):.4f}, {v.sum()} seen, {fps}, {detailed}"
            for m, v in zip(motions, valid, strict=True)
        ]


class Measured(Store):
    """Three clips to test on, of two lengths and sources; the second's left hand is not seen."""

    def clips(self, split: str | None = None) -> list[dict[str, Any]]:
        made = [clip("test", 3), clip("test", 4, 12), clip("test", 5) | {"source": "other"}]
        made[1]["valid"][:, 0] = False
        return made if split == "test" else super().clips(split)


PROTOCOL = Protocol(samples=2, temperature=0.5, guidance=1.5, seed=7)
"""How the models are asked in the tests: each setting has a value of its own."""


SEEDS = {3: 4145905875, 4: 1769543030, 5: 511583744}
"""The seed of each clip: 7 and the CRC-32 of its name, so that clips of one caption get different motions."""


def drawn(model: str, clip_number: int, sample: int, temperature: float = 0.5) -> str:
    seconds = {3: 8 / 15, 4: 12 / 15, 5: 8 / 15}[clip_number]
    text = f"a test hand, number {clip_number}"
    return f"{model}: {text} | {seconds} s, {temperature}, 1.5, seed {SEEDS[clip_number]}, sample {sample}"


def test_each_clip_gets_the_motions_of_its_own_caption_and_length():
    made = evaluation.draw_motions(Measured(), Model("final"), PROTOCOL)
    assert made["generated"] == [[drawn("final", number, sample) for sample in (0, 1)] for number in (3, 4, 5)]
    assert made["generated_own_length"][1] == [
        "final: a test hand, number 4 | None s, 0.5, 1.5, seed 1769543030, sample 0"
    ]
    other = [float(several[0].split(" | ")[1].split(" s,")[0]) for several in made["generated_other_length"]]
    assert other == pytest.approx([10 / 15, 0.9, 10 / 15])  # a quarter longer, and no longer than the model can
    assert [len(several) for several in made["generated_other_length"]] == [1, 1, 1]
    assert made["generated_high_level"][1] == ["final: test hand 4 | 0.8 s, 0.5, 1.5, seed 1769543030, sample 0"]


class Scripted(Measured):
    """Of the three clips the first two are scripted."""

    def clips(self, split: str | None = None) -> list[dict[str, Any]]:
        told = {"family": "clap", "hand": "both", "direction": "up", "speed": "fast", "size": "large"}
        found = super().clips(split)
        for one, repetitions in zip(found[:2], (3, 2), strict=True):
            one["attributes"] = {**told, "repetitions": repetitions, "synthetic": True}
        return found


def test_scripted_clips_are_asked_for_in_words_of_their_own_and_tersely():
    made = evaluation.draw_motions(Scripted(), Model("final"), PROTOCOL)["generated_held_out_phrasing"]
    assert [len(several) for several in made] == [1, 1, 0]
    assert all(re.search("quickly|fast|rapid|swift|high speed|brisk", several[0]) for several in made[:2])
    assert [f"| {seconds} s, 0.5" in made[k][0] for k, seconds in ((0, 8 / 15), (1, 0.8))] == [True, True]
    terse = evaluation.draw_terse(Scripted(), Model("final"), PROTOCOL)
    assert list(terse) == ["generated_terse"]
    asked = [several[0] if several else "" for several in terse["generated_terse"]]
    assert re.search("three times|3 times|thrice|3x", asked[0])
    assert re.search("twice|two times|2 times|2x", asked[1])
    assert ["| None s, 0.5" in one for one in asked] == [True, True, False]
    assert not re.search(r"\bup\b|both|two hands|fast|large", " ".join(asked))
    assert evaluation.draw_terse(Measured(), Model("final"), PROTOCOL) == {}
    assert evaluation.draw_terse(Scripted(), Model("final"), replace(PROTOCOL, held_out_phrasings=False)) == {}


def test_the_judge_is_asked_of_terse_motions_only_what_they_were_told(monkeypatch):
    seen = {}
    monkeypatch.setattr(evaluation, "judge_motions", lambda *args, **how: seen.update(motions=args[2], **how))
    evaluation.measure_judge(Measured(), "judge", {"generated": 1}, {"generated_terse": 2}, [], PROTOCOL)
    assert seen["motions"] == {"generated": 1, "generated_terse": 2}
    assert seen["told"] == {"generated_terse": ("family", "repetitions")}


@pytest.mark.parametrize(
    ("frames", "length", "longest", "expected"),
    [(30, 1.0, 9.0, 2.0), (30, 1.25, 9.0, 2.5), (30, 1.25, 2.2, 2.2), (30, 0.05, 9.0, 4 / 15), (3, 0.5, 9.0, 3 / 15),
     (150, 1.0, 9.0, 10.0)],
)  # fmt: skip
def test_a_share_of_a_length_is_long_enough_to_be_judged_and_no_longer_than_the_model_can(
    frames, length, longest, expected
):
    """A clip that is itself too long for the model is asked for as it is, so that the model can say so."""
    assert seconds_of(clip("test", 3, frames), length, longest) == pytest.approx(expected)


def test_the_arms_of_the_comparison_are_the_models_of_their_names(monkeypatch):
    seen = {}

    def compare(evaluator, clips, arms, *, control, texts, judge, seed):
        seen.update(arms=arms, about=(evaluator, [c["clip_id"] for c in clips], control, texts, judge, seed))
        return {"made": {"figures": 1}}

    def variety(store, control, refined, evaluator, protocol):
        seen["variety"] = (control.name, refined.name, evaluator, protocol.split)
        return 0.9

    monkeypatch.setattr(evaluation, "compare_arms", compare)
    monkeypatch.setattr(evaluation, "same_variety", variety)
    found = evaluation.measure_refinement(
        Measured(), Model("refined"), Model("control"), "evaluator", "judge", PROTOCOL
    )
    assert found == {"made": {"figures": 1, "control_temperature": 0.9}}
    firsts = {name: [motions[0] for motions in runs[0]] for name, runs in seen["arms"].items()}
    assert firsts == {
        "control": [drawn("control", number, 0) for number in (3, 4, 5)],
        "refined": [drawn("refined", number, 0) for number in (3, 4, 5)],
        "control_same_multimodality": [drawn("control", number, 0, 0.9) for number in (3, 4, 5)],
    }
    texts = [f"a test hand, number {number}" for number in (3, 4, 5)]
    assert seen["about"] == ("evaluator", ["test/3", "test/4", "test/5"], "control", texts, "judge", 7)
    assert seen["variety"] == ("control", "refined", "evaluator", "test")


def test_the_temperature_of_equal_variety_is_the_controls_on_val(monkeypatch):
    """The refined model's variety at the protocol's temperature is the target, and the control's is moved to it."""

    class Evaluator:
        def embed_motions(self, motions):
            return motions

    asked = []

    def variety(motions):
        asked.append(motions[0][0])
        return 5.0 if motions[0][0].startswith("refined") else 1.0

    def solve(function, target):
        return function(0.8) + target, None

    monkeypatch.setattr(evaluation, "multimodality", variety)
    monkeypatch.setattr(evaluation, "temperature_of_multimodality", solve)
    assert evaluation.same_variety(Measured(), Model("control"), Model("refined"), Evaluator(), PROTOCOL) == 6.0
    seconds = 8 / 15
    assert asked == [
        f"refined: a val hand, number 2 | {seconds} s, 0.5, 1.5, seed 2821466564, sample 0",
        f"control: a val hand, number 2 | {seconds} s, 0.8, 1.5, seed 2821466564, sample 0",
    ]


def test_motion_to_text_is_measured_on_each_clips_own_motion_and_hands(monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate_m2t", lambda *given, **named: (given, named))
    (given, named), said = evaluation.measure_m2t(Measured(), Model("final"), "evaluator", PROTOCOL)
    clips = Measured().clips("test")
    values = [float(c["features"][0, 0]) for c in clips]
    assert said == [f"final of {v:.4f}, {seen} seen, 15.0, True" for v, seen in zip(values, (16, 12, 16), strict=True)]
    assert given[0] == "evaluator"
    assert [c["clip_id"] for c in given[1]] == ["test/3", "test/4", "test/5"]
    assert given[2] == said
    assert named["seed"] == 7
    assert named["bert_model"] is None
    asked = replace(PROTOCOL, bert_model="a folder")
    assert evaluation.measure_m2t(Measured(), Model("final"), "evaluator", asked)[0][1]["bert_model"] == "a folder"


def test_the_tokenizer_is_measured_on_what_it_makes_of_the_test_clips_with_train_for_the_baselines(monkeypatch):
    class Shift:
        def encode_list(self, features, valid, fps):
            assert [int(v.sum()) for v in valid] == [16, 12, 16]
            return [torch.as_tensor(f) for f in features]

        def decode_list(self, tokens):
            return [t + 1 for t in tokens]

    monkeypatch.setattr(evaluation, "evaluate_tokenizer", lambda *given: given)
    (clips, made, learnt), again = evaluation.measure_tokenizer(Measured(), Shift(), PROTOCOL)
    assert [c["clip_id"] for c in clips] == ["test/3", "test/4", "test/5"]
    for motion, one in zip(made, clips, strict=True):
        np.testing.assert_array_equal(motion, one["features"] + 1)
    assert again == made
    assert [c["clip_id"] for c in learnt] == ["train/0", "train/1"]


@pytest.mark.parametrize(("fit", "package"), [("fit_evaluator", "train_evaluator"), ("fit_judge", "train_judge")])
def test_those_who_measure_learn_from_train_and_validate_on_val(monkeypatch, fit, package):
    seen = {}

    def learn(clips, config, *, val_clips, data_hash, checkpoint_dir, on_log):
        seen.update(train=[c["clip_id"] for c in clips], val=[c["clip_id"] for c in val_clips])
        return config, data_hash, checkpoint_dir

    monkeypatch.setattr(evaluation, package, learn)
    name = fit.removeprefix("fit_")
    sources = ([],) if fit == "fit_judge" else ()
    assert getattr(evaluation, fit)(Store(), "settings", *sources, "kept") == ("settings", "abc", f"kept/{name}")
    assert seen == {"train": ["train/0", "train/1"], "val": ["val/2"]}


def test_the_figures_stand_under_their_own_names(monkeypatch):
    monkeypatch.setattr(evaluation, "believed_shares", lambda t2m, judged: ("believed", t2m, judged))
    monkeypatch.setattr(evaluation, "check_goals", lambda document, goals: ("goals", goals))
    by = SimpleNamespace(seed=1, data_hash="e"), SimpleNamespace(seed=2, data_hash="j")
    made = evaluation.gather(
        Store(), "shift", "t2m", "judged", "claims", "motion", "m2t", "arms", "form", *by, "wanted", PROTOCOL
    )
    assert made == {
        "data_hash": "abc",
        "measured_by": {"evaluator": {"seed": 1, "data_hash": "e"}, "judge": {"seed": 2, "data_hash": "j"}},
        "generation": {"temperature": 0.5, "guidance": 1.5},
        "tokenizer": "shift",
        "text_to_motion": "t2m",
        "judge": "judged",
        "believed": ["believed", "t2m", "judged"],
        "claims": "claims",
        "motion": "motion",
        "motion_to_text": "m2t",
        "refinement": "arms",
        "well_formed_share": "form",
        "goals": ("goals", "wanted"),
    }


def test_a_sample_to_look_at_is_of_one_clip_throughout():
    clips = Measured().clips("test")
    made = [np.full((2, 3), number) for number in (3, 4, 5)]
    generated = {"generated": [[m * 10, m * 11] for m in made], "generated_high_level": None}
    said = [f"said of {number}" for number in (3, 4, 5)]
    shown = evaluation.choose_samples(Measured(), made, generated, said, PROTOCOL)
    assert shown["clip_id"].tolist() == ["test/3", "test/4", "test/5"]
    assert shown["caption"].tolist() == [f"a test hand, number {n}" for n in (3, 4, 5)]
    assert shown["generated_caption"].tolist() == said
    assert shown["source"].tolist() == ["made", "made", "other"]
    for k, (number, one) in enumerate(zip((3, 4, 5), clips, strict=True)):
        np.testing.assert_array_equal(shown[f"truth_{k}"], one["features"])
        np.testing.assert_array_equal(shown[f"valid_{k}"], one["valid"])
        assert shown[f"reconstruction_{k}"][0, 0] == number
        assert shown[f"generations_{k}"][:, 0, 0].tolist() == [number * 10, number * 11]


def test_the_sweep_compares_each_point_with_the_control_on_val(monkeypatch):
    """Every arm starts at the pretrained model; it differs from the stage's own settings in its point and its steps."""
    trained, compared = [], []

    def stage(clutch, store, tokens, config, checkpoints):
        trained.append((clutch, config, checkpoints))
        return Model(f"lam {config.lam:g}{' control' if config.control else ''}"), []

    def compare(evaluator, clips, control, refined, *, texts, seed):
        compared.append((evaluator, [c["clip_id"] for c in clips], control[0][0], refined[0][0], texts, seed))
        return {}

    monkeypatch.setattr(studies, "run_stage", stage)
    monkeypatch.setattr(studies, "compare_refinement", compare)
    plan = studies.SweepPlan(steps=5, grid={"lam": [1.0, 4.0]})
    own = RefineConfig(seed=2, steps=12, lam=3.0, learning_rate=0.5)
    rows = studies.sweep_refinement(Store(), TOKENS, "pretrained", "evaluator", own, plan, PROTOCOL, "kept")
    assert [row["lam"] for row in rows] == [1.0, 4.0]
    assert {clutch for clutch, *_ in trained} == {"pretrained"}
    assert [(c.control, c.lam, c.steps, c.seed, c.learning_rate) for _, c, _ in trained] == [
        (True, 3.0, 5, 2, 0.5),
        (False, 1.0, 5, 2, 0.5),
        (False, 4.0, 5, 2, 0.5),
    ]
    assert len({place for *_, place in trained}) == 3
    said = f"a val hand, number 2 | {8 / 15} s, 0.5, 1.5, seed 2821466564, sample 0"
    assert compared == [
        ("evaluator", ["val/2"], f"lam 3 control: {said}", f"lam {lam}: {said}", ["a val hand, number 2"], 7)
        for lam in (1, 4)
    ]
