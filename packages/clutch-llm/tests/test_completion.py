"""Completion: what is given is forced and comes back, in both forms; the task that trains it; errors."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, Sampling, completion, train_stage
from clutch_llm.batching import SampleMaker
from clutch_llm.blending import keep_given
from clutch_llm.completion_masks import PARTS, TIMES, draw_given, given_parts, given_times
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.given import moved, read_given
from clutch_llm.planning import FIELDS, NONE
from hand_geometry import features_to_joints
from hand_geometry.errors import InputError
from hand_geometry.rotations import rotation_6d_to_matrix

CAPTIONS = ["the left hand waves", "both hands clap"]
NAN = np.float32(np.nan)


def practised(clutch: Clutch) -> Clutch:
    """The same model, said to have been trained on completion."""
    clutch = copy.copy(clutch)
    clutch.stages = [{"stage": "PretrainConfig", "steps": 1, "seed": 0, "tasks": {"complete": 1.0}}]
    return clutch


@pytest.fixture(scope="module", params=["step", "interleaved"])
def model(request, tokenizer) -> Clutch:
    form = request.param
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8, motion_form=form, plan=form == "step")
    return practised(Clutch.create(config, tokenizer=tokenizer, captions=CAPTIONS, seed=0))


@pytest.fixture
def features(clips) -> np.ndarray:
    """32 frames, the hands a metre from the origin."""
    return moved(clips[0]["features"], np.array([1.0, 0.0, 0.0]))


def gapped(features: np.ndarray, kind: str) -> np.ndarray:
    hands = features.copy().reshape(32, 2, 99)
    if kind == "future":
        hands[12:] = NAN
    elif kind == "past":
        hands[:20] = NAN
    elif kind == "between":
        hands[8:24] = NAN
    elif kind == "keyframes":
        hands[[k for k in range(32) if k not in (2, 17, 30)]] = NAN
    elif kind == "hand":
        hands[:, 0] = NAN
    elif kind == "path":
        hands[:, :, 6:96] = NAN
    elif kind == "pose":
        hands[:, :, :6] = hands[:, :, 96:] = NAN
    return hands.reshape(32, 198)


#: Steps and slots (left path, left pose, right path, right pose) that each kind of gap leaves given.
GIVEN = {
    "future": (range(3), range(4)),
    "past": (range(5, 8), range(4)),
    "between": ((0, 1, 6, 7), range(4)),
    "keyframes": ((0, 4, 7), range(4)),
    "hand": (range(8), (2, 3)),
    "path": (range(8), (0, 2)),
    "pose": (range(8), (1, 3)),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_given_slots_are_forced_and_the_rest_is_drawn(model: Clutch, features, kind: str) -> None:
    """A code that is given is the one nearest to the truth after what was written before it."""
    read = read_given(gapped(features, kind), None, model.tokenizer, frames=None, max_steps=8)
    expected = np.zeros((8, 4), dtype=bool)
    expected[np.ix_(*map(list, GIVEN[kind]))] = True
    assert (read.slots == expected).all()
    a, b = model.complete(gapped(features, kind), "both hands clap", samples=2, seed=1)
    for made in (a, b):
        values: Any = None
        for step in range(8):
            nearest, _ = model.tokenizer.quantize([z[:, :, step : step + 1] for z in read.latents], values)
            own = torch.from_numpy(made["tokens"][step])
            assert (own.numpy() == nearest[0, 0].numpy())[expected[step]].all()
            values = [v[:, :, -1] for v in model.tokenizer.embed(own[None, None], values)]
    assert (a["tokens"] != b["tokens"])[~expected].any()
    assert (model.complete(gapped(features, kind), "both hands clap", seed=1)[0]["tokens"] == a["tokens"]).all()


def test_a_beginning_keeps_the_tokens_of_the_beginning(model: Clutch, clips) -> None:
    """Far enough from the gap, which the encoder's reach looks into, they are those of the whole motion."""
    whole = clips[0]["features"].copy()
    whole[8:] = whole[7]  # a line from the last frame on is what a future's gap is bridged with
    read = read_given(whole[:8], None, model.tokenizer, frames=32, max_steps=8)
    canonical = moved(whole, -read.origin)
    made = model.complete(whole[:8], "both hands clap", seconds=32 / 15)[0]
    assert (made["tokens"][:2] == model.tokenizer.encode(torch.from_numpy(canonical)).numpy()[:2]).all()


def test_all_given_comes_back_within_the_tokenizers_error(model: Clutch, features) -> None:
    made = model.complete(features, "both hands clap")[0]["features"]
    origin = read_given(features, None, model.tokenizer, frames=None, max_steps=8).origin
    again = model.tokenizer.decode(model.tokenizer.encode(torch.from_numpy(moved(features, -origin)))).numpy()
    np.testing.assert_allclose(made, moved(again, origin), atol=1e-4)


@pytest.mark.parametrize("seconds", [2.0, 1.9, 14 / 15, 32 / 15])
def test_the_length_is_exact(model: Clutch, features, seconds: float) -> None:
    made = model.complete(features[:13], "the left hand waves", seconds=seconds)[0]
    assert len(made["features"]) == round(seconds * 15)
    assert len(made["tokens"]) == -(-round(seconds * 15) // 4)


@pytest.mark.parametrize("kind", GIVEN)
def test_what_is_kept_is_exact_and_joints_go_on_without_a_jump(model: Clutch, features, kind: str) -> None:
    motion = gapped(features, kind)
    known = ~np.isnan(motion)
    made = model.complete(motion, "both hands clap", seed=2, keep=True)[0]["features"]
    plain = model.complete(motion, "both hands clap", seed=2)[0]["features"]
    assert (made[known] == features[known]).all()
    assert not (plain[known] == features[known]).all()
    turns = torch.from_numpy(made).reshape(32, 2, 99)[..., :96].unflatten(-1, (16, 6))
    free = torch.from_numpy(~known).reshape(32, 2, 99)[..., :96:6]
    first = torch.linalg.vector_norm(turns[..., :3], dim=-1)[free]
    assert torch.allclose(first, torch.ones_like(first), atol=1e-4)
    if kind in ("future", "past", "between"):
        pasted = torch.from_numpy(np.where(known, features, plain))
        edges = np.flatnonzero(np.diff(known[:, 0].astype(int)))

        def jumps(motion: torch.Tensor) -> float:
            joints = features_to_joints(motion)
            return float((joints[1:] - joints[:-1]).norm(dim=-1).flatten(1).mean(1)[edges].max())

        assert jumps(torch.from_numpy(made)) < 0.6 * jumps(pasted)


def test_blending_fades_the_difference_from_each_edge(tokenizer) -> None:
    made = np.zeros((12, 198), dtype=np.float32)
    made[:, :96] = made[:, 99:195] = np.tile([1, 0, 0, 0, 1, 0], 16)
    given = made.copy()
    given[:, 96], given[8:, 96] = 1.0, 2.0  # the left wrist, one metre off before the gap and two behind it
    known = np.zeros((12, 198), dtype=bool)
    known[:2] = known[8:] = True
    x = keep_given(made, given, known, tokenizer, blend=2)[:, 96]
    np.testing.assert_allclose(x, [1, 1, 0.75, 0.25, 0, 0, 0.5, 1.5, 2, 2, 2, 2], atol=1e-6)
    assert (rotation_6d_to_matrix(torch.from_numpy(made[0, :6])) == torch.eye(3)).all()


def test_gaps_may_be_frames_that_are_not_valid(model: Clutch, features) -> None:
    valid = np.ones((32, 2), dtype=bool)
    valid[8:24, 0] = False
    broken = features.reshape(32, 2, 99).copy()
    broken[8:24, 0] = np.inf  # whatever stands there
    marked = features.reshape(32, 2, 99).copy()
    marked[8:24, 0] = NAN
    a = model.complete(broken.reshape(32, 198), "both hands clap", valid=valid)[0]
    b = model.complete(torch.from_numpy(marked.reshape(32, 198)), "both hands clap")[0]
    assert (a["features"] == b["features"]).all()


def test_the_text_and_guidance_count_and_a_text_may_be_left_out(model: Clutch, features, monkeypatch) -> None:
    """The same random numbers, other logits."""
    seen: list[list[float]] = []
    draw = Sampling.draw
    record = lambda self, logits, chance: seen[-1].append(float(logits[0, 0])) or draw(self, logits, chance)  # noqa: E731
    monkeypatch.setattr(Sampling, "draw", record)
    start = gapped(features, "future")
    for text, guidance in (
        ("both hands clap", 1.0),
        ("both hands clap", 4.0),
        ("the left hand waves", 1.0),
        (None, 1.0),
    ):
        seen.append([])
        model.complete(start, text, guidance=guidance)
    assert len({str(logits[-20:-16]) for logits in seen}) == 4  # of the first step behind what is given
    seen.append([])
    model.complete(start, None, guidance=4.0)
    assert seen[-1] == seen[-2]  # without a text there is nothing to guide by


def test_guidance_compares_with_the_same_gaps_without_a_text(model: Clutch, features, monkeypatch) -> None:
    asked: list[tuple[Any, Any]] = []
    draw = Clutch._draw
    record = lambda self, rows, *a, **how: asked.append((rows[0], how["unconditional"])) or draw(self, rows, *a, **how)  # noqa: E731
    monkeypatch.setattr(Clutch, "_draw", record)
    start = gapped(features, "between")
    model.complete(start, "both hands clap", guidance=2.0)
    model.complete(start, None)
    (told, compared), (silent, nothing) = asked
    assert nothing is None
    np.testing.assert_array_equal(compared.ids, silent.ids)
    read = read_given(start, None, model.tokenizer, frames=None, max_steps=8)
    shown = model.vocabulary.shown_rows(read.tokens(model.tokenizer), read.slots)
    for prompt in (told, compared):  # the motion, with its gaps, then the end token
        np.testing.assert_array_equal(prompt.ids[-1 - len(shown) : -1], shown)
    words = [model.vocabulary.decode_text(ids if ids.ndim == 1 else ids[:, 0]) for ids in (told.ids, compared.ids)]
    assert ["clap" in text for text in words] == [True, False]


def test_a_last_step_in_part_is_decided_where_the_motion_ends_and_not_where_it_goes_on(tokenizer, features) -> None:
    """As clips of training are padded: with their last frame."""
    whole = read_given(features[:30], None, tokenizer, frames=None, max_steps=8)
    assert whole.slots.shape == (8, 4)
    assert whole.slots.all()
    assert (whole.features[30:] == features[29]).all()
    more = read_given(features[:13], None, tokenizer, frames=30, max_steps=8)
    assert more.slots.all(1).tolist() == [True] * 3 + [False] * 5


@pytest.mark.parametrize(("frames", "step"), [(range(3, 7), 1), (range(2, 5), 0), (range(7, 8), 1), (range(6, 9), 1)])
def test_a_run_without_a_whole_step_decides_that_of_its_middle(tokenizer, features, frames, step: int) -> None:
    motion = features.copy()
    motion[[k for k in range(32) if k not in frames]] = NAN
    decided = read_given(motion, None, tokenizer, frames=None, max_steps=8).slots.all(1)
    assert np.flatnonzero(decided).tolist() == [step]


def test_of_several_the_users_claims_decide_and_without_them_each_ones_plan(model, features, monkeypatch) -> None:
    judged: list[list[list[str]]] = []
    choose = completion.best_of
    record = lambda motions: judged.append([list(m["plan"]) for m in motions]) or choose(motions)  # noqa: E731
    monkeypatch.setattr(completion, "best_of", record)
    start, claims = gapped(features, "future"), ["count:left=3", "contact:both/palms=touch@1.0-1.5"]
    explain = model.config.plan
    made = model.complete(start, "both hands clap", claims=claims, rank=3, explain=explain)[0]
    assert judged == [[claims] * 3]
    if explain:
        assert made["plan"][0] != "none" and claims[1] not in made["plan"]  # noqa: PT018
        made = model.complete(start, "both hands clap", rank=3, explain=True)[0]
        assert made["plan"] in judged[1]
        assert not any(claim in claims[1:] for plan in judged[1] for claim in plan)


def test_claims_are_planned_for_and_the_best_is_kept(model: Clutch, features) -> None:
    claim = "contact:both/palms=touch@1.0-1.5"
    made = model.complete(gapped(features, "future"), "both hands clap", claims=[claim], rank=3, samples=2)
    assert [0.0 <= m["score"] <= 1.0 and "plan" not in m for m in made] == [True, True]
    if model.config.plan:
        explained = model.complete(gapped(features, "future"), "both hands clap", claims=["count:left=3"], explain=True)
        assert "count:left=3" in explained[0]["plan"]
        assert model.complete(gapped(features, "future"), explain=True)[0]["plan"] == []
    with pytest.raises(ConfigError, match="rank above 1"):
        model.complete(features, "x", claims=[claim])
    with pytest.raises(InputError, match="kind:hand"):
        model.complete(features, "x", claims=["touch"], rank=2)


# Models that were not trained for it


def test_without_the_task_a_motion_still_goes_on_from_its_beginning(model: Clutch, features) -> None:
    model = copy.copy(model)
    model.stages = [{"stage": "PretrainConfig", "steps": 1, "seed": 0}]
    made = model.complete(features[:12], "both hands clap", seconds=2, keep=True)[0]
    assert (made["features"][:12] == features[:12]).all()
    for kind in ("past", "between", "hand", "path"):
        with pytest.raises(ConfigError, match=f"{model.config.motion_form} form trained on PretrainConfig without it"):
            model.complete(gapped(features, kind), "both hands clap")


@pytest.mark.parametrize(
    ("change", "how", "error"),
    [
        (lambda f: f[:, :99], {}, r"shape \(T, 198\)"),
        (lambda f: f * NAN, {}, "gaps alone"),
        (lambda f: f * np.inf, {}, "infinity"),
        (lambda f: f, {"valid": np.ones((3, 2), dtype=bool)}, "Expected valid of shape"),
        (lambda f: f, {"text": " "}, "Expected a text"),
        (lambda f: f, {"seconds": 1.0}, "at least the 32 frames"),
        (lambda f: f, {"seconds": 9.0}, "at most 32 frames"),
        (lambda f: f, {"samples": 0}, "samples of at least 1"),
        (lambda f: f, {"blend": 0}, "blend of at least 1"),
    ],
)
def test_what_can_not_be_completed_is_refused(model: Clutch, features, change, how, error: str) -> None:
    with pytest.raises((ConfigError, DataError), match=error):
        model.complete(change(features), **how)


def test_a_part_of_what_a_stream_carries_is_refused(model: Clutch, features) -> None:
    hands = features.copy().reshape(32, 2, 99)
    hands[5, 1, 96:] = NAN
    with pytest.raises(DataError, match=r"rotation and translation of the right hand .* frame 5"):
        model.complete(hands.reshape(32, 198), "both hands clap")


# The training task


def test_masks_are_of_every_kind_and_never_all_or_nothing() -> None:
    rng = np.random.default_rng(0)
    for kind in TIMES:
        masks = [given_times(kind, 6, rng) for _ in range(50)]
        assert all(0 < m.sum() < 6 for m in masks)
    assert all(np.diff(given_times("future", 6, rng).astype(int)).max() <= 0 for _ in range(20))
    assert all(np.diff(given_times("past", 6, rng).astype(int)).min() >= 0 for _ in range(20))
    parts = {kind: {tuple(given_parts(kind, (0, 1, 0, 1), rng)) for _ in range(50)} for kind in PARTS}
    assert parts["hand"] == {(True, True, False, False), (False, False, True, True)}
    assert parts["path"] == {(True, False, True, False)}
    assert parts["pose"] == {(False, True, False, True)}
    assert parts["hand's path"] == {(True, False, False, False), (False, False, True, False)}
    assert parts["hand's pose"] == {(False, True, False, False), (False, False, False, True)}
    drawn = [draw_given(6, (0, 1, 0, 1), rng) for _ in range(300)]
    assert all(0 < m.sum() < m.size for m in drawn)
    assert not draw_given(1, (0,), rng).any()


def test_the_task_shows_what_is_given_and_answers_with_plan_and_motion(model: Clutch, examples) -> None:
    maker, layout = SampleMaker(model.vocabulary), model.vocabulary.layout
    example = {**examples[0], "plan": [NONE] * len(FIELDS)}
    sample = maker.make("complete", example, np.random.default_rng(3))
    rows = model.vocabulary.motion_rows(example["tokens"])
    shown = sample.prompt[-1 - len(rows) : -1]
    hidden = shown == layout.mask
    assert hidden.any()
    assert (shown == rows)[~hidden].all()
    assert hidden[1:-1].sum() < rows[1:-1].size
    assert (sample.target == maker.make("t2m", example, np.random.default_rng(3)).target).all()
    silent = SampleMaker(model.vocabulary, condition_dropout=1.0).make("complete", example, np.random.default_rng(3))
    assert len(silent.prompt) < len(sample.prompt)


def test_without_a_caption_the_task_asks_for_no_plan(model: Clutch, examples) -> None:
    if not model.config.plan:
        pytest.skip("the interleaved form has no plans")
    example = {**examples[0], "plan": [NONE, "count:left=2", *[NONE] * (len(FIELDS) - 2)]}
    first = model.vocabulary.layout.first_plan
    count = first + model.vocabulary.plan_names.index("count:left=2")
    for dropped, expected in ((0.0, count), (1.0, first)):
        maker = SampleMaker(model.vocabulary, condition_dropout=dropped)
        target = maker.make("complete", example, np.random.default_rng(3)).target
        assert target[1 : 1 + len(FIELDS), 0].tolist() == [first, expected, *[first] * (len(FIELDS) - 2)]


def test_a_model_that_is_trained_on_completion_says_so_and_completes(tokenizer, examples, clips) -> None:
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8, motion_form="step")
    fresh = Clutch.create(config, tokenizer=tokenizer, captions=CAPTIONS, seed=0)
    stage = PretrainConfig(steps=2, batch_size=4, tasks={"complete": 1.0}, checkpoint_every=10, log_every=1)
    trained, history = train_stage(fresh, examples, stage)
    assert trained.stages[-1]["tasks"] == {"complete": 1.0}
    assert np.isfinite([row["loss"] for row in history]).all()
    made = trained.complete(gapped(clips[0]["features"], "past"), "both hands clap")[0]
    assert made["features"].shape == (32, 198)
