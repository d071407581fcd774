import copy
from typing import Any

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, Sampling, TokenLayout
from clutch_llm.batching import SampleMaker, collate
from clutch_llm.errors import ConfigError, DataError
from clutch_llm.generation import Stepper, generate_free, generate_motion, generate_text
from clutch_llm.prompts import Prompt, PromptBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

TEXTS = ["the left hand waves", "both hands clap twice, with large movements", "the right hand"]

#: Text 0..9 with pad 3 and end 1; codes of codebook 0 at 10..14 and of codebook 1 at 15..19; som 20, eom 21, mask 22.
LAYOUT = TokenLayout(text_size=10, codebook_size=5, sentinels=(2,), pad=3)
NO_CHANCE = np.zeros((1, 16))


def prompt(*ids: int) -> Prompt:
    return Prompt(np.array(ids), np.zeros(len(ids), dtype=np.int64))


def saying(replies: dict[tuple[int, ...], list[int]], layout: TokenLayout = LAYOUT):
    """Logits that favour, for each prompt, the ids of its reply one after the other."""

    def logits(asked: list[int], written: list[int]) -> np.ndarray:
        out = np.zeros(layout.size)
        out[replies[tuple(asked)][len(written)]] = 9.0
        return out

    return logits


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


# A model that says what it is told


@pytest.mark.parametrize("use_cache", [True, False])
def test_each_prompt_becomes_the_motion_that_the_model_says(known_model, use_cache: bool) -> None:
    """Prompts of different lengths side by side; one motion ends after its second step, one goes on to the last."""
    short = [20, 10, 16, 12, 18, 14, 18, 12, 16, 21]
    long = [20, 11, 15, 13, 19, 10, 17, 10, 15, 12, 19, 14, 18]
    model = known_model(LAYOUT, 3, saying({(4, 1): short + [0] * 9, (5, 6, 7, 1): long}))
    motions = generate_motion(
        model,
        [prompt(4, 1), prompt(5, 6, 7, 1)],
        chance=np.zeros((2, 12)),
        sampling=Sampling(greedy=True),
        use_cache=use_cache,
    )
    assert motions[0].tolist() == [[0, 1, 2, 3], [4, 3, 2, 1]]
    assert motions[1].tolist() == [[1, 0, 3, 4], [0, 2, 0, 0], [2, 4, 4, 3]]


def test_the_decoder_is_fed_what_was_drawn_with_the_position_that_it_fills_next(known_model) -> None:
    model = known_model(LAYOUT, 2, saying({(4, 1): [20, 10, 16, 12, 18, 14, 18, 12, 16]}))
    generate_motion(model, [prompt(4, 1)], chance=NO_CHANCE, sampling=Sampling(greedy=True), steps=2)
    assert [ids for ids, _ in model.fed] == [[[3, 20]], [[10]], [[16]], [[12]], [[18]], [[14]], [[18]], [[12]]]
    assert [positions for _, positions in model.fed] == [[[0, 1]], [[2]], [[3]], [[4]], [[5]], [[6]], [[7]], [[8]]]


def test_every_code_is_drawn_by_its_own_chance_among_the_codes_of_its_slot(known_model) -> None:
    model = known_model(LAYOUT, 2, lambda asked, written: np.zeros(LAYOUT.size))
    tenths = np.array([[0.1, 0.3, 0.5, 0.7, 0.9, 0.1, 0.5, 0.3], [0.9, 0.7, 0.1, 0.3, 0.3, 0.9, 0.5, 0.5]])
    how: dict[str, Any] = {"sampling": Sampling(), "steps": 2}
    first, second = generate_motion(model, [prompt(4, 1), prompt(5, 1)], chance=tenths, **how)
    assert first.tolist() == [[0, 1, 2, 3], [4, 0, 2, 1]]
    assert second.tolist() == [[4, 3, 0, 1], [1, 4, 2, 2]]


def test_a_motion_ends_where_the_end_is_drawn_at_the_border_of_a_step(known_model) -> None:
    """Five codes and the end are alike there: a sixth each. Nowhere else can a motion end."""
    model = known_model(LAYOUT, 4, lambda asked, written: np.zeros(LAYOUT.size))
    chance = np.full((3, 16), 0.99)
    chance[1, 4], chance[2, [4, 8]] = 0.1, (0.1, 0.55)
    motions = generate_motion(model, [prompt(4, 1)] * 3, chance=chance, sampling=Sampling())
    assert [m.tolist() for m in motions] == [
        [[4, 4, 4, 4]],
        [[4, 4, 4, 4], [0, 4, 4, 4]],
        [[4, 4, 4, 4], [0, 4, 4, 4], [3, 4, 4, 4]],
    ]


@pytest.mark.parametrize(("guidance", "code"), [(0.0, 2), (0.5, 0), (1.0, 0), (2.0, 1), (4.0, 1)])
def test_guidance_moves_away_from_what_the_model_says_without_the_text(known_model, guidance: float, code: int) -> None:
    """Of codes 0, 1 and 2 the text says 1.0, 0.9, 0.5; no text says 1.0, 0.0, 1.1."""

    def logits(asked: list[int], written: list[int]) -> np.ndarray:
        out = np.full(LAYOUT.size, -5.0)
        out[10:13] = out[15:18] = [1.0, 0.9, 0.5] if asked == [4, 1] else [1.0, 0.0, 1.1]
        return out

    drawn = generate_motion(
        known_model(LAYOUT, 1, logits),
        [prompt(4, 1)],
        chance=NO_CHANCE,
        sampling=Sampling(greedy=True, guidance=guidance),
        steps=1,
        unconditional=prompt(8, 9, 1),
    )
    assert drawn[0].tolist() == [[code] * 4]


def test_temperature_and_top_k_reach_the_draw(known_model) -> None:
    def logits(asked: list[int], written: list[int]) -> np.ndarray:
        out = np.full(LAYOUT.size, -30.0)
        out[10:13] = out[15:18] = np.log([0.5, 0.3, 0.2])
        return out

    model = known_model(LAYOUT, 1, logits)
    chance = np.array([[0.6, 0.64, 0.85, 0.95]])
    for sampling, codes in (
        (Sampling(), [1, 1, 2, 2]),
        (Sampling(temperature=0.5), [0, 0, 1, 2]),
        (Sampling(top_k=2), [0, 1, 1, 1]),
        (Sampling(greedy=True), [0, 0, 0, 0]),
    ):
        drawn = generate_motion(model, [prompt(4, 1)], chance=chance, sampling=sampling, steps=1)
        assert drawn[0].tolist() == [codes]


@pytest.mark.parametrize("use_cache", [True, False])
def test_each_prompt_becomes_the_text_that_the_model_says(known_model, use_cache: bool) -> None:
    replies = {(4, 1): [7, 8, 1, 9, 9], (5, 6, 1): [6, 1, 4, 4, 4], (9, 1): [4, 5, 6, 7, 8]}
    model = known_model(LAYOUT, 3, saying(replies))
    asked = [prompt(4, 1), prompt(5, 6, 1), prompt(9, 1)]
    assert generate_text(model, asked, max_tokens=4, use_cache=use_cache) == [[7, 8], [6], [4, 5, 6, 7]]
    assert model.fed[0][0] == [[3], [3], [3]]
    assert not any(position for _, positions in model.fed for row in positions for position in row)


def test_a_text_has_no_motion_no_padding_and_no_sentinel_however_likely(known_model) -> None:
    def logits(asked: list[int], written: list[int]) -> np.ndarray:
        out = np.zeros(LAYOUT.size)
        out[[2, 3, *range(10, 23)]] = 9.0  # sentinel, padding, motion and its marks
        out[7 if not written else 1] = 1.0
        return out

    assert generate_text(known_model(LAYOUT, 3, logits), [prompt(4, 1)]) == [[7]]


def test_free_writing_is_told_its_positions_and_cut_at_its_end(known_model) -> None:
    replies = {(4, 1): [5, 20, 10, 16, 21, 9, 9, 9, 9, 9], (5, 1): [20, 10, 20, 11, 1, 9, 9, 9, 9, 9], (6, 1): [7] * 10}
    model = known_model(LAYOUT, 2, saying(replies))
    written = generate_free(
        model, [prompt(4, 1), prompt(5, 1), prompt(6, 1)], chance=np.zeros((3, 10)), sampling=Sampling(greedy=True)
    )
    assert [row.tolist() for row in written] == [[5, 20, 10, 16, 21], [20, 10, 20, 11, 1], [7] * 10]
    positions = np.array([positions for _, positions in model.fed])[:, :, 0]
    assert positions[:6, 0].tolist() == [0, 0, 1, 2, 3, 0]
    assert positions[:5, 1].tolist() == [0, 1, 2, 1, 2]
    assert not positions[:, 2].any()


def told(clutch: Clutch, known_model, replies: dict[str, list[int]]) -> Clutch:
    """`Clutch` with a model that says what it is told for each prompt, given as it is written out."""
    layout, vocabulary = clutch.vocabulary.layout, clutch.vocabulary

    def logits(asked: list[int], written: list[int]) -> np.ndarray:
        out = np.zeros(layout.size)
        spelled = vocabulary.to_string(asked).replace("Ġ", " ").strip()
        out[replies[spelled][len(written)]] = 9.0
        return out

    other = copy.copy(clutch)
    other.model = known_model(layout, clutch.config.max_steps, logits)
    return other


MOTIONS = [np.array([[k, 23 - k, 2 * k, 1]]) for k in range(4)]


def test_each_text_gets_its_own_motion_and_each_of_its_samples(clutch, known_model, monkeypatch) -> None:
    """Texts whose lengths are out of order, in several chunks."""
    monkeypatch.setattr("clutch_llm.generation.CHUNK", 3)
    texts = ["the right hand makes a fist", "x", "both hands clap twice, with large movements", "the left hand waves"]
    replies = {
        f"generate hand motion: {text}</s>": clutch.vocabulary.motion_to_ids(motion).tolist()
        for text, motion in zip(texts, MOTIONS, strict=True)
    }
    for samples in (1, 2):
        drawn = told(clutch, known_model, replies).generate(texts, samples=samples, greedy=True)
        assert [[m["tokens"].tolist() for m in row] for row in drawn] == [[m.tolist()] * samples for m in MOTIONS]
    for row, motion in zip(drawn, MOTIONS, strict=True):
        expected = clutch.tokenizer.decode(torch.tensor(motion))
        np.testing.assert_allclose(row[0]["features"], expected, atol=1e-5)


def test_guidance_compares_with_the_prompt_without_a_text(clutch, known_model) -> None:
    """Any other prompt is one that the model is not told an answer for. What both say alike cancels."""
    with_text, without = (clutch.vocabulary.motion_to_ids(MOTIONS[k]).tolist() for k in (1, 2))
    replies = {"generate hand motion: x</s>": with_text, "generate hand motion:</s>": without}
    told_both = told(clutch, known_model, replies)
    how: dict[str, Any] = {"greedy": True, "seconds": 0.3}
    assert told_both.generate("x", guidance=3.0, **how)[0][0]["tokens"].tolist() == MOTIONS[1].tolist()
    assert told_both.generate("x", guidance=0.0, **how)[0][0]["tokens"].tolist() == MOTIONS[2].tolist()


def test_free_ids_are_those_of_their_text(clutch, known_model, monkeypatch) -> None:
    monkeypatch.setattr("clutch_llm.generation.CHUNK", 2)
    texts = ["the right hand makes a fist", "x", "the left hand waves"]
    ids = [[7, 8, 1], [9, 1], [8, 7, 6, 1]]
    replies = {f"generate hand motion: {t}</s>": i + [0] * 40 for t, i in zip(texts, ids, strict=True)}
    free = told(clutch, known_model, replies).generate_free(texts, greedy=True)
    assert [row.tolist() for row in free] == ids


def test_each_motion_gets_its_own_caption_and_the_detailed_one_when_asked(clutch, known_model, monkeypatch) -> None:
    monkeypatch.setattr("clutch_llm.generation.CHUNK", 3)
    motions = [np.repeat(m, n, axis=0) for m, n in zip(MOTIONS, (3, 1, 4, 2), strict=True)]
    names = ["the left hand", "the right hand", "both hands", "hand"]
    replies = {}
    for motion, name in zip(motions, names, strict=True):
        shown = clutch.vocabulary.to_string(clutch.vocabulary.motion_to_ids(motion))
        for question, answer in (("describe the motion:", name), ("describe the motion in detail:", f"{name} waves")):
            ids = [*clutch.vocabulary.encode_text(answer), clutch.vocabulary.layout.eos]
            replies[f"{question}{shown}</s>"] = ids + [5] * 9
    knowing = told(clutch, known_model, replies)
    assert knowing.caption_tokens(motions) == names
    assert knowing.caption_tokens(motions, detailed=True) == [f"{name} waves" for name in names]


# Random weights


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
@pytest.mark.parametrize("steps", [None, 5, [2, 7, 5]])
def test_cached_generation_equals_the_plain_one(
    clutch, guidance: float, greedy: bool, steps: int | list[int] | None
) -> None:
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
    assert len(np.unique(np.concatenate(both[0]))) > 5
    if isinstance(steps, list):
        assert [len(tokens) for tokens in both[0]] == steps


@pytest.mark.parametrize("steps", [0, 9, [3, 0, 4], [3, 9, 4]])
def test_a_number_of_steps_out_of_range_is_refused(clutch, steps: int | list[int]) -> None:
    rows, _ = prompts_of(clutch)
    with pytest.raises(ConfigError, match="Expected 1 to 8 latent steps, got"):
        generate_motion(clutch.model, rows, chance=np.zeros((3, 32)), sampling=Sampling(), steps=steps)


def test_generation_agrees_with_teacher_forcing(clutch) -> None:
    """Codes are drawn from the logits that a training forward over the same codes has, at any length; they vary."""
    wild = scrambled(clutch, 3, 1.0)
    seen: list[torch.Tensor] = []

    class Watched(Sampling):
        def draw(self, logits: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
            seen.append(logits)
            return super().draw(logits, chance)

    rows, _ = prompts_of(clutch)
    chance = np.random.default_rng(1).random((3, 32))
    motions = generate_motion(wild.model, rows, chance=chance, sampling=Watched(temperature=30.0), steps=8)
    assert min(len(np.unique(tokens)) for tokens in motions) > 8
    maker = SampleMaker(clutch.vocabulary)
    examples = [{"captions": [text], "tokens": tokens} for text, tokens in zip(TEXTS, motions, strict=True)]
    samples = [maker.make("t2m", example, np.random.default_rng(0)) for example in examples]
    with torch.no_grad():
        taught = wild.model(collate(samples, clutch.vocabulary.layout.pad), refine=True).slot_logits
    drawn_from = torch.stack(seen, 1).unflatten(1, (8, 4))
    spread = float(taught.std((1, 2)).mean())  # between the steps and slots of a motion
    torch.testing.assert_close(drawn_from, taught, atol=1e-3 * spread, rtol=0)


@torch.no_grad()
def test_padding_of_a_prompt_is_not_attended(clutch) -> None:
    """A short prompt beside a long one gives the decoder the same states as alone, to rounding."""
    wild = scrambled(clutch, 6, 0.3)
    rows, _ = prompts_of(clutch, [TEXTS[2], " ".join(TEXTS)])
    ids, positions = torch.tensor([[0, clutch.vocabulary.layout.som]]), torch.tensor([[0, 1]])
    alone = Stepper(wild.model, rows[:1]).step(ids, positions)
    beside = Stepper(wild.model, rows).step(ids.repeat(2, 1), positions.repeat(2, 1))[:1]
    torch.testing.assert_close(beside, alone, rtol=1e-4, atol=1e-4 * float(alone.abs().mean()))


OTHERS = ["x", "both hands clap twice, with large movements", "the left hand waves " * 8, "y z", "a", "fist", "left"]


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_sentence_becomes_the_same_motion_alone_and_among_others(clutch, monkeypatch, seed: int, guidance) -> None:
    wild = scrambled(clutch, 7, 0.2)
    text = "the right hand makes a fist"
    how: dict[str, Any] = {"seed": seed, "guidance": guidance}
    alone = wild.generate(text, **how)[0][0]["tokens"].tolist()
    assert wild.generate([*OTHERS[:3], text, *OTHERS[3:]], **how)[3][0]["tokens"].tolist() == alone
    assert wild.generate([text, *OTHERS[::-1]], samples=3, **how)[0][0]["tokens"].tolist() == alone
    monkeypatch.setattr("clutch_llm.generation.CHUNK", 2)
    assert wild.generate([*OTHERS, text], samples=2, **how)[7][0]["tokens"].tolist() == alone


def test_samples_differ_and_so_do_texts_of_one_length(clutch) -> None:
    drawn = clutch.generate(["the left hand waves", "the right hand waves"], samples=3, seconds=2)
    assert len({m["tokens"].tobytes() for row in drawn for m in row}) == 6


def test_seeds_may_be_given_for_each_text(clutch) -> None:
    text = "the left hand waves"
    two = clutch.generate([text, text], seed=[1, 2], seconds=2)
    for seed, row in zip((1, 2), two, strict=True):
        np.testing.assert_array_equal(row[0]["tokens"], clutch.generate(text, seed=seed, seconds=2)[0][0]["tokens"])
    assert not np.array_equal(two[0][0]["tokens"], two[1][0]["tokens"])


def test_the_model_may_end_a_motion_at_any_step_border(clutch) -> None:
    """With an end that is about as likely as any code, lengths vary and are whole steps."""
    motions = clutch.generate(["the left hand waves"], samples=200, temperature=50.0, seed=1)[0]
    lengths = {len(m["tokens"]) for m in motions}
    assert len(lengths) > 3
    assert max(lengths) <= clutch.config.max_steps


def test_seconds_are_exact(clutch) -> None:
    for seconds, frames in ((0.8, 12), (1.5, 24), (8 * 4 / 15, 32)):
        for motion in clutch.generate(TEXTS[:2], seconds=seconds, samples=2):
            assert [m["features"].shape for m in motion] == [(frames, 198)] * 2


@pytest.mark.parametrize("seconds", [0.0, -1.0, 60.0, float("nan"), float("inf")])
def test_lengths_the_model_cannot_make_are_refused(clutch, seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"Expected seconds from 0\.27 to 2\.13, got"):
        clutch.generate(TEXTS[:1], seconds=seconds)


def test_the_same_seed_gives_the_same_motions_and_another_one_others(clutch) -> None:
    first, again, other = (clutch.generate(TEXTS, samples=2, seed=s) for s in (5, 5, 6))
    for row, same in zip(first, again, strict=True):
        for a, b in zip(row, same, strict=True):
            np.testing.assert_array_equal(a["tokens"], b["tokens"])
            np.testing.assert_array_equal(a["features"], b["features"])
    assert any(not np.array_equal(a[0]["tokens"], b[0]["tokens"]) for a, b in zip(first, other, strict=True))


def test_generation_leaves_the_global_generators_alone(clutch) -> None:
    torch.manual_seed(0)
    before, numpys = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    clutch.generate(TEXTS[:1], seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.random.get_state()[1].tolist() == numpys


def test_top_1_is_greedy(clutch) -> None:
    one = clutch.generate(TEXTS, top_k=1, seed=0)
    greedy = clutch.generate(TEXTS, greedy=True, seed=9)
    for a, b in zip(one, greedy, strict=True):
        np.testing.assert_array_equal(a[0]["tokens"], b[0]["tokens"])


def test_the_models_own_settings_are_taken_where_none_are_given(clutch) -> None:
    own = copy.copy(clutch)
    own.generation = Sampling(temperature=0.3, top_k=2, guidance=2.0)
    neutral = {"temperature": 1.0, "top_k": 0, "guidance": 1.0}
    rows = zip(
        own.generate(TEXTS, seconds=2),
        clutch.generate(TEXTS, seconds=2, temperature=0.3, top_k=2, guidance=2.0),
        clutch.generate(TEXTS, seconds=2),
        own.generate(TEXTS, seconds=2, **neutral),
        strict=True,
    )
    for from_model, given_them, plain, told_off in rows:
        assert from_model[0]["tokens"].tolist() == given_them[0]["tokens"].tolist() != plain[0]["tokens"].tolist()
        assert told_off[0]["tokens"].tolist() == plain[0]["tokens"].tolist()
    own.generation = Sampling(greedy=True)
    assert len({m["tokens"].tobytes() for m in own.generate(TEXTS[0], samples=4, seconds=2)[0]}) == 1
    assert len({m["tokens"].tobytes() for m in own.generate(TEXTS[0], samples=4, seconds=2, greedy=False)[0]}) == 4


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"top_k": -1}, {"guidance": float("nan")}, {"samples": 0}])
def test_settings_that_make_no_sense_are_refused(clutch, bad: dict) -> None:
    with pytest.raises(ConfigError):
        clutch.generate(TEXTS[:1], **bad)


def test_a_text_of_a_book_is_refused(clutch) -> None:
    with pytest.raises(DataError, match=r"at most 512 tokens, got 16\d\d .*the left hand"):
        clutch.generate("the left hand waves " * 400)


def test_untrained_free_writing_is_malformed(clutch) -> None:
    wild = scrambled(clutch, 5, 1e-3)
    ids = wild.generate_free(TEXTS * 10)
    layout = clutch.vocabulary.layout
    for row in ids:
        assert not set(row[:-1].tolist()) & {layout.eom, layout.eos}
        assert len(row) <= clutch.config.max_steps * 4 + 2
    assert sum(clutch.well_formed(row) for row in ids) == 0
