import copy

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, Sampling
from clutch_llm.batching import SampleMaker
from clutch_llm.errors import ConfigError
from clutch_llm.generation import generate_free, generate_motion, generate_text
from clutch_llm.prompts import PromptBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

TEXTS = ["the left hand waves", "both hands clap twice, with large movements", "the right hand"]


def prompts_of(clutch: Clutch, texts=TEXTS):
    builder = PromptBuilder(clutch.vocabulary)
    return [builder.t2m(t) for t in texts], builder.t2m(None)


def scrambled(clutch: Clutch, seed: int, scale: float) -> Clutch:
    """The same model with weights that no training would give."""
    wild = copy.copy(clutch)
    wild.model = copy.deepcopy(clutch.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in wild.model.parameters():
            parameter.normal_(0.0, scale, generator=generator)
    return wild


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 9999),
    scale=st.sampled_from([1e-3, 0.1, 1.0, 30.0]),
    steps=st.one_of(st.none(), st.integers(1, 8)),
    temperature=st.sampled_from([0.05, 1.0, 20.0]),
    top_k=st.one_of(st.none(), st.integers(1, 40)),
    greedy=st.booleans(),
    guidance=st.sampled_from([1.0, 3.0]),
)
def test_every_motion_is_well_formed_whatever_the_weights(
    clutch, seed, scale, steps, temperature, top_k, greedy, guidance
) -> None:
    wild = scrambled(clutch, seed, scale)
    rows, free = prompts_of(clutch)
    motions = generate_motion(
        wild.model,
        rows,
        chance=np.random.default_rng(seed).random((3, 32)),
        sampling=Sampling(temperature, top_k, greedy, guidance),
        steps=steps,
        unconditional=free,
    )
    for tokens in motions:
        assert wild.well_formed(wild.vocabulary.motion_to_ids(tokens))
        assert len(tokens) == (steps or len(tokens)) <= wild.model.max_steps


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("steps", [None, 5])
def test_cached_generation_equals_the_plain_one(clutch, guidance: float, greedy: bool, steps: int | None) -> None:
    rows, free = prompts_of(clutch)
    both = [
        generate_motion(
            scrambled(clutch, 1, 0.3).model,
            rows,
            chance=np.random.default_rng(4).random((3, 32)),
            sampling=Sampling(greedy=greedy, guidance=guidance),
            steps=steps,
            unconditional=free,
            use_cache=cached,
        )
        for cached in (True, False)
    ]
    for cached, plain in zip(*both, strict=True):
        np.testing.assert_array_equal(cached, plain)


def test_cached_text_equals_the_plain_one(clutch, examples) -> None:
    rows = [PromptBuilder(clutch.vocabulary).m2t(e["tokens"]) for e in examples[:4]]
    wild = scrambled(clutch, 2, 0.3)
    cached, plain = (generate_text(wild.model, rows, max_tokens=12, use_cache=c) for c in (True, False))
    assert cached == plain
    assert len({tuple(t) for t in cached}) > 1


def test_generation_agrees_with_teacher_forcing(clutch, examples) -> None:
    """Greedy codes are the likeliest ones that a training forward over the same codes sees."""
    from clutch_llm.batching import collate

    maker = SampleMaker(clutch.vocabulary)
    wild = scrambled(clutch, 3, 0.3)
    rows, _ = prompts_of(clutch, TEXTS[:1])
    tokens = generate_motion(wild.model, rows, chance=np.zeros((1, 32)), sampling=Sampling(greedy=True), steps=6)[0]
    sample = maker.make("t2m", {"captions": TEXTS[:1], "tokens": tokens}, np.random.default_rng(0))
    out = wild.model(collate([sample], clutch.vocabulary.layout.pad), refine=True)
    assert out.slot_logits[0].argmax(-1).tolist() == tokens.tolist()


def test_the_model_may_end_a_motion_at_any_step_border(clutch) -> None:
    """With an end that is as likely as everything else together, lengths vary and are whole steps."""
    motions = clutch.generate(["the left hand waves"], samples=200, temperature=50.0, seed=1)[0]
    lengths = {len(m["tokens"]) for m in motions}
    assert len(lengths) > 3
    assert max(lengths) <= clutch.config.max_steps


def test_seconds_are_exact(clutch) -> None:
    for seconds, frames in ((0.8, 12), (1.5, 24), (8 * 4 / 15, 32)):
        for motion in clutch.generate(TEXTS[:2], seconds=seconds, samples=2):
            assert [m["features"].shape for m in motion] == [(frames, 198)] * 2


@pytest.mark.parametrize("seconds", [0.0, -1.0, 60.0, float("nan")])
def test_lengths_the_model_cannot_make_are_refused(clutch, seconds: float) -> None:
    with pytest.raises(ConfigError, match="Expected seconds from"):
        clutch.generate(TEXTS[:1], seconds=seconds)


def test_the_same_seed_gives_the_same_motions_and_another_one_others(clutch) -> None:
    first, again, other = (clutch.generate(TEXTS, samples=2, seed=s) for s in (5, 5, 6))
    for row, same in zip(first, again, strict=True):
        for a, b in zip(row, same, strict=True):
            np.testing.assert_array_equal(a["tokens"], b["tokens"])
            np.testing.assert_array_equal(a["features"], b["features"])
    assert any(not np.array_equal(a[0]["tokens"], b[0]["tokens"]) for a, b in zip(first, other, strict=True))


def test_generation_leaves_the_global_generator_alone(clutch) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    clutch.generate(TEXTS[:1], seed=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_top_1_is_greedy(clutch) -> None:
    one = clutch.generate(TEXTS, top_k=1, seed=0)
    greedy = clutch.generate(TEXTS, greedy=True, seed=9)
    for a, b in zip(one, greedy, strict=True):
        np.testing.assert_array_equal(a[0]["tokens"], b[0]["tokens"])


def test_free_generation_is_cut_at_its_end_and_often_malformed(clutch) -> None:
    rows, _ = prompts_of(clutch)
    wild = scrambled(clutch, 5, 1e-3)
    ids = generate_free(wild.model, rows * 10, chance=np.random.default_rng(0).random((30, 34)), sampling=Sampling())
    layout = clutch.vocabulary.layout
    for row in ids:
        assert not set(row[:-1].tolist()) & {layout.eom, layout.eos}
        assert len(row) <= clutch.config.max_steps * 4 + 2
    assert sum(clutch.well_formed(row) for row in ids) == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"top_k": -1},
        {"guidance": float("nan")},
        {"guidance": -1.0},
        {"temperature": float("inf")},
    ],
)
def test_sampling_that_makes_no_sense_is_refused(clutch, bad: dict) -> None:
    with pytest.raises(ConfigError):
        clutch.generate(TEXTS[:1], **bad)


def test_captions_are_text_of_any_motions(clutch, clips) -> None:
    texts = clutch.caption([c["features"] for c in clips])
    assert len(texts) == len(clips)
    assert all("<" not in t for t in texts)
    assert clutch.caption(clips[0]["features"]) == texts[:1]
    assert clutch.caption(clips[0]["features"][:-2])  # not whole steps: held at the end
