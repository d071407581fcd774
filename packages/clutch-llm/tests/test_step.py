"""The step form: rows, the depth head, told lengths, plans in targets, decoding."""

import copy

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, RefineConfig, Sampling, train_stage
from clutch_llm.backbones import T5Backbone
from clutch_llm.batching import Sample, SampleMaker, collate
from clutch_llm.cli import main
from clutch_llm.errors import ConfigError
from clutch_llm.model import IGNORE
from clutch_llm.models import StepModel
from clutch_llm.optimizers import parameter_groups
from clutch_llm.planning import FIELDS, NONE
from clutch_llm.prompts import PromptBuilder
from clutch_llm.rows import are_steps, step_positions, token_rows
from clutch_llm.sampling import chances_of
from clutch_llm.step_generation import chances_needed, generate_steps, nearest_likely
from clutch_llm.vocabulary import TokenLayout
from hand_geometry import features_to_joints
from transformers import T5Config, T5ForConditionalGeneration

#: Text 0..3 with pad 0 and end 1; codes at 4..5 and 6..7; som 8, eom 9, mask 10; lengths 1..3 at 11..13; plan 14..15.
TINY = TokenLayout(text_size=4, codebook_size=2, lengths=3, plan_size=2)
PLAN = [NONE, "count:left=2", "speed:left=fast", *[NONE] * 7]


@pytest.fixture(scope="module")
def step_clutch(tokenizer) -> Clutch:
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=1, max_steps=8, motion_form="step", plan=True)
    return Clutch.create(config, tokenizer=tokenizer, captions=["the left hand waves", "both hands clap"], seed=0)


def batch_of(clutch: Clutch, examples, task: str = "t2m", **options):
    maker = SampleMaker(clutch.vocabulary, **options)
    samples = [maker.make(task, e, np.random.default_rng(0)) for e in examples]
    return collate(samples, clutch.vocabulary.layout.pad)


def tiny() -> StepModel:
    """Width 2; token i is (i, 0), slot s (0, 10 s), the map of slot s times s + 1, the head the identity."""
    sizes = T5Config(vocab_size=TINY.size, d_model=2, d_kv=1, d_ff=1, num_layers=1, num_heads=1)
    model = StepModel(T5Backbone(T5ForConditionalGeneration(sizes)), TINY, max_steps=3).eval()
    model.backbone.output_scale = 1.0
    with torch.no_grad():
        model.backbone.embeddings.weight[:, 0], model.backbone.embeddings.weight[:, 1] = torch.arange(TINY.size), 0.0
        model.backbone.t5.lm_head.weight = torch.nn.Parameter(model.backbone.embeddings.weight.clone())
        model.backbone.t5.lm_head.weight[:, 1] = 1.0
        model.slot_embedding.weight[:, 0], model.slot_embedding.weight[:, 1] = 0.0, 10.0 * torch.arange(5) - 10.0
        for slot, (linear, layers) in enumerate(zip(model.slot_maps, model.slot_layers, strict=True)):
            linear.weight.copy_((slot + 1) * torch.eye(2))
            layers[-1].weight.zero_()
            layers[-1].bias.zero_()
        model.depth_head.weight.copy_(torch.eye(2))
        model.depth_head.bias.zero_()
        for table in (model.step_embedding, model.left_embedding):
            table.weight[:, 0] = 0.0
        model.step_embedding.weight[:, 1] = 100.0 * torch.arange(5)
        model.left_embedding.weight[:, 1] = 1000.0 * torch.arange(4)
        model.pooled_plan.weight.copy_(torch.eye(2))
    return model


@torch.no_grad()
def test_a_latent_step_goes_in_as_the_sum_of_its_mapped_codes_its_step_and_what_is_left() -> None:
    rows = torch.tensor([[[3, *[IGNORE] * 3], [4, 6, 5, 7], [10, 6, 10, 7], [10, *[IGNORE] * 3]]])
    positions = torch.tensor([[[0, 0], [1, 2], [2, 1], [0, 0]]])
    # a token; 4 + 2 x 6 + 3 x 5 + 4 x 7; with two codes hidden 10 + 12 + 30 + 28; a hidden token
    assert tiny().embed(rows, positions).tolist() == [[[3, 0], [59, 2100], [80, 1200], [10, 0]]]


def test_which_rows_are_steps() -> None:
    rows = torch.tensor([[8, *[IGNORE] * 3], [4, 6, 5, 7], [10] * 4, [0] * 4, [IGNORE] * 4, [14, *[IGNORE] * 3]])
    assert are_steps(rows, TINY).tolist() == [False, True, True, False, False, False]


@torch.no_grad()
def test_the_depth_head_writes_slots_in_order_each_from_the_codes_before_it() -> None:
    """With state (1, 0) and codes 5, 6, 4: x is 1, then 1 + 5, 1 + 5 + 12, 1 + 5 + 12 + 12; y is ten times the slot."""
    model, state = tiny(), torch.tensor([[1.0, 0.0]])
    codes = torch.tensor([[5, 6, 4, 7]])
    expected = [[4 * 1, 5 * 1], [6 * 6 + 10, 7 * 6 + 10], [4 * 18 + 20, 5 * 18 + 20], [6 * 30 + 30, 7 * 30 + 30]]
    assert model.step_logits(state, codes)[0].tolist() == expected
    for slot in range(4):  # what comes later, and the slot's own code, change nothing
        other = codes.clone()
        other[:, slot:] = 4
        assert model.depth_logits(state, other, slot).tolist() == [expected[slot]]


@torch.no_grad()
def test_the_plan_is_added_where_a_step_is_written_and_nowhere_else() -> None:
    model = tiny()
    rows = torch.tensor([[[12, *[IGNORE] * 3], [15, *[IGNORE] * 3], [15, *[IGNORE] * 3], [8, *[IGNORE] * 3]]])
    encoded = model.encode(torch.zeros(1, 1, 4, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool),
                           torch.zeros(1, 1, 2, dtype=torch.int64))  # fmt: skip
    planned = model.with_plan(encoded, rows)
    assert planned.plan[0, 0].tolist() == pytest.approx([30 / 2**0.5, 0.0])
    positions = torch.tensor([[[0, 0], [0, 0], [0, 0], [1, 3]]])
    added = model.decoder_inputs(rows, positions, planned) - model.decoder_inputs(rows, positions, encoded)
    torch.testing.assert_close(added[0, :, 0], torch.tensor([0.0, 0.0, 0.0, 30 / 2**0.5]))


@torch.no_grad()
def test_lengths_and_plans_have_a_head_of_their_own() -> None:
    model = tiny()
    model.backbone.output_scale = 0.5
    torch.nn.init.zeros_(model.told_head.weight)
    model.told_head.weight[:, 0] = torch.arange(5.0)  # lengths 11..13, plan 14..15
    model.told_head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 7.0]))
    logits = model.head(torch.tensor([[0.5, 0.0]]))  # a state that the output scale has halved
    assert logits.tolist() == [[*[0.5 * k for k in range(11)], 0.0, 1.0, 2.0, 3.0, 11.0]]


@torch.no_grad()
def test_what_is_told_weighs_more_than_a_code_in_the_loss(step_clutch, examples, monkeypatch) -> None:
    model = step_clutch.model
    batch = batch_of(step_clutch, [{**examples[3], "plan": PLAN}])
    heavy = float(model(batch).loss)
    monkeypatch.setattr("clutch_llm.models.step.TOLD_WEIGHT", 1.0)
    plain = float(model(batch).loss)
    monkeypatch.setattr("clutch_llm.models.step.TOLD_WEIGHT", 0.0)
    rest = float(model(batch).loss)
    assert heavy - rest == pytest.approx(4.0 * (plain - rest), rel=1e-4)
    told, labels = 1 + len(FIELDS), 2 + len(FIELDS) + 2 * 4  # length, plan, <som> and two latent steps
    assert plain - rest > 0.5 * told / labels * np.log(step_clutch.vocabulary.layout.size)


def test_token_embeddings_from_nothing_are_narrow_in_the_step_form(step_clutch, clutch) -> None:
    def spread(model) -> float:
        return float(model.backbone.embeddings.weight[: model.layout.text_size].detach().std())

    assert spread(step_clutch.model) == pytest.approx(0.3, rel=0.05)
    assert spread(clutch.model) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("architecture", ["encoder-decoder", "decoder-only"])
def test_the_same_seed_makes_the_same_weights_whatever_was_drawn_before(tokenizer, architecture: str) -> None:
    sizes = {"d_model": 32, "d_ff": 64, "heads": 2, "layers": 1, "max_steps": 8}
    config = ClutchConfig(**sizes, architecture=architecture, motion_form="step", plan=True)
    made = []
    for before in (1, 2):
        torch.manual_seed(before)
        model = Clutch.create(config, tokenizer=tokenizer, captions=["both hands clap"], seed=3).model
        made.append(model.state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_a_target_tells_length_and_plan_then_the_steps_with_how_much_is_left(step_clutch, examples) -> None:
    layout, vocabulary = step_clutch.vocabulary.layout, step_clutch.vocabulary
    example = {**examples[3], "plan": PLAN}  # two latent steps
    sample = SampleMaker(vocabulary).make("t2m", example, np.random.default_rng(0))
    names = [vocabulary.tokenizer.id_to_token(int(i)) for i in sample.target[:12, 0]]
    assert names == [
        "<length_2>", "<plan:none>", "<plan:count:left=2>", "<plan:speed:left=fast>", *["<plan:none>"] * 7, "<som>",
    ]  # fmt: skip
    np.testing.assert_array_equal(sample.target[12:], example["tokens"] + layout.slot_offsets)
    assert (sample.target[:12, 1:] == IGNORE).all()
    assert sample.target_positions.tolist() == [*[[0, 0]] * 12, [1, 2], [2, 1]]


def test_a_prefix_in_the_step_form_is_what_is_told_and_so_many_steps(step_clutch, examples) -> None:
    """A length, ten answers and <som> stand before the steps; the length that is told is the whole motion's."""
    layout, example = step_clutch.vocabulary.layout, max(examples, key=lambda e: len(e["tokens"]))
    length = len(example["tokens"])
    prefix = SampleMaker(step_clutch.vocabulary).make("t2m", example, np.random.default_rng(0), steps=2)
    assert length > 2
    assert prefix.target[0, 0] == layout.length_id(length)
    assert prefix.target[11, 0] == layout.som
    np.testing.assert_array_equal(prefix.target[12:], example["tokens"][:2] + layout.slot_offsets)
    assert prefix.target_positions[12:].tolist() == [[1, length], [2, length - 1]]


def test_what_is_dropped_is_caption_and_plan(step_clutch, examples) -> None:
    maker = SampleMaker(step_clutch.vocabulary, condition_dropout=1.0)
    sample = maker.make("t2m", {**examples[3], "plan": PLAN}, np.random.default_rng(0))
    assert set(sample.target[1:11, 0]) == {step_clutch.vocabulary.layout.first_plan}
    np.testing.assert_array_equal(sample.prompt, PromptBuilder(step_clutch.vocabulary).t2m(None).ids)


def test_reading_is_trained_without_the_motion(step_clutch, examples) -> None:
    sample = SampleMaker(step_clutch.vocabulary).make("plan", {**examples[3], "plan": PLAN}, np.random.default_rng(0))
    assert len(sample.target) == 1 + len(FIELDS)
    assert not sample.target_positions.any()


def test_a_motion_to_read_is_a_row_a_step_between_its_marks(step_clutch, examples) -> None:
    prompt = PromptBuilder(step_clutch.vocabulary).m2t(examples[3]["tokens"])
    layout = step_clutch.vocabulary.layout
    at = int(np.flatnonzero(prompt.ids[:, 0] == layout.som)[0])
    np.testing.assert_array_equal(prompt.ids[at + 1 : at + 3], examples[3]["tokens"] + layout.slot_offsets)
    assert prompt.ids[at + 3, 0] == layout.eom
    assert prompt.positions[at : at + 4].tolist() == [[0, 0], [1, 2], [2, 1], [0, 0]]


def test_spans_of_a_motion_are_told_how_much_of_them_is_left(step_clutch, examples) -> None:
    sample = SampleMaker(step_clutch.vocabulary).make("motion", examples[0], np.random.default_rng(1))
    layout = step_clutch.vocabulary.layout
    first = sample.target[:, 0]
    assert first[0] == layout.sentinels[0] and first[-1] == layout.eos  # noqa: PT018
    steps = are_steps(torch.from_numpy(sample.target), layout).numpy()
    assert ((sample.target_positions[:, 1] > 0) == steps).all()
    ends = np.flatnonzero(steps & ~np.append(steps[1:], False))
    assert (sample.target_positions[ends, 1] == 1).all()
    where = sample.target_positions[steps, 0] - 1
    np.testing.assert_array_equal(sample.target[steps], examples[0]["tokens"][where] + layout.slot_offsets)


def test_plan_tokens_are_never_hidden_from_the_decoder(step_clutch, examples) -> None:
    maker = SampleMaker(step_clutch.vocabulary, decoder_input_dropout=1.0)
    hidden = [maker.make("t2m", {**examples[0], "plan": PLAN}, np.random.default_rng(k)) for k in range(20)]
    assert not any(sample.target_hidden[:12].any() for sample in hidden)
    assert any(sample.target_hidden[12:].any() for sample in hidden)


@torch.no_grad()
@pytest.mark.parametrize("task", ["t2m", "m2t", "masked", "motion", "text", "t2t", "plan"])
def test_padding_changes_nothing(step_clutch, examples, task: str) -> None:
    rows = [examples[3], examples[0], examples[1]]
    whole = step_clutch.model(batch_of(step_clutch, rows, task)).loss
    alone = [batch_of(step_clutch, [row], task) for row in rows]
    sizes = torch.tensor([float((b.target != IGNORE).sum()) for b in alone])
    losses = torch.stack([step_clutch.model(b).loss for b in alone])
    torch.testing.assert_close(whole, (losses * sizes).sum() / sizes.sum(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_refinement_sees_the_logits_of_teacher_forcing_in_their_places(step_clutch, examples) -> None:
    """The cross-entropy of the codes by the logits for refinement is the one that is trained."""
    rows = [{**examples[3], "plan": PLAN}, {**examples[0], "plan": PLAN}]
    batch = batch_of(step_clutch, rows)
    out = step_clutch.model(batch, refine=True)
    assert out.slot_logits.shape == (2, 8, 4, 24)
    assert out.step_mask.sum(1).tolist() == [2, 8]
    codes = torch.stack(
        [torch.nn.functional.pad(torch.from_numpy(r["tokens"]), (0, 0, 0, 8 - len(r["tokens"]))) for r in rows]
    )
    entropy = -out.slot_logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
    of_codes = float((entropy * out.step_mask[..., None]).sum())
    head = batch_of(step_clutch, rows)
    head.target[are_steps(head.target, step_clutch.vocabulary.layout)] = IGNORE  # the same inputs up to the steps
    of_words = step_clutch.model(head).loss * (head.target != IGNORE).sum()
    labels = (batch.target != IGNORE).sum()
    assert float(out.loss * labels) == pytest.approx(of_codes + float(of_words), rel=1e-4)
    parts = step_clutch.model(batch_of(step_clutch, rows[:1]), batch_of(step_clutch, rows[1:]), refine=True)
    torch.testing.assert_close(parts.slot_logits, out.slot_logits, atol=1e-4, rtol=1e-4)


def test_a_length_is_told_and_obeyed_exactly(step_clutch) -> None:
    for steps in (1, 5, 8):
        seconds = steps * step_clutch.seconds_per_step
        motions = step_clutch.generate(["the left hand waves", "clap"], seconds, samples=2)
        assert {m["tokens"].shape for own in motions for m in own} == {(steps, 4)}
        assert {m["features"].shape for own in motions for m in own} == {(4 * steps, 198)}
    lengths = {len(m["tokens"]) for m in step_clutch.generate("wave", samples=40, temperature=4.0)[0]}
    assert len(lengths) > 2 and lengths <= set(range(1, 9))  # noqa: PT018


def test_the_likely_length_nearest_to_the_one_asked_for() -> None:
    """Shares by hand: 0.6 for 2 steps, 0.39 for 5, 0.01 for 6 and next to nothing for the others."""
    logits = torch.tensor([1e-9, 0.6, 1e-9, 1e-9, 0.39, 0.01, 1e-9, 1e-9]).log().expand(6, 8)
    asked = torch.tensor([1, 2, 3, 4, 5, 8])
    assert nearest_likely(logits, asked).tolist() == [2, 2, 2, 5, 5, 6]
    alike = torch.zeros(1, 200)  # each has less than the share that makes a length likely
    assert nearest_likely(alike, torch.tensor([150])).tolist() == [150]


def test_a_length_never_seen_in_training_changes_nothing_of_what_is_read(step_clutch) -> None:
    """Told that 7 steps are all that there is, the model reads the same plan when 3 are asked for."""
    clutch = copy.deepcopy(step_clutch)
    with torch.no_grad():
        clutch.model.told_head.bias[:8] = -100.0
        clutch.model.told_head.bias[6] = 0.0
    texts, sampling = ["the left hand waves", "clap"], Sampling(temperature=0.8)
    own, asked = (drawn(clutch, texts, sampling=sampling, steps=steps) for steps in (None, 3))
    assert [m.tokens.shape for m in own] == [(7, 4), (7, 4)]
    assert [m.tokens.shape for m in asked] == [(3, 4), (3, 4)]
    for a, b in zip(own, asked, strict=True):
        np.testing.assert_array_equal(a.plan, b.plan)


def test_a_text_is_never_taken_for_none(step_clutch) -> None:
    """The model finds a plan that says nothing likeliest, as training has it where the caption was dropped."""
    clutch = copy.deepcopy(step_clutch)
    none = clutch.vocabulary.layout.first_plan
    with torch.no_grad():
        clutch.model.told_head.bias[none - clutch.vocabulary.layout.first_told] = 100.0
    told = [motion["plan"] for motion in clutch.generate("clap", 1.0, samples=5, explain=True)[0]]
    assert [[claim.split(":")[0] for claim in plan] for plan in told] == [["hands"]] * 5
    given = clutch.generate("clap", 1.0, seed=3)[0][0]
    (made,) = clutch.complete(given["features"], text="wave", seconds=2.0, explain=True)
    assert [claim.split(":")[0] for claim in made["plan"]] == ["hands"]
    (free,) = clutch.complete(given["features"], seconds=2.0, explain=True)
    assert free["plan"] == []


def drawn(clutch: Clutch, texts: list[str], **how):
    answers = clutch._answers
    builder = PromptBuilder(clutch.vocabulary)
    count = chances_needed(clutch.vocabulary.layout, len(answers))
    chance = chances_of(texts, seeds=[0] * len(texts), samples=1, count=count)
    return generate_steps(
        clutch.model, [builder.t2m(text) for text in texts], answers=answers, chance=chance,
        unconditional=builder.t2m(None), **how,
    )  # fmt: skip


@pytest.mark.parametrize(("asked", "reading"), [(1.2, 0.5), (0.3, 0.3)])
def test_length_and_plan_are_drawn_at_a_temperature_of_a_half_at_most_and_codes_as_asked(
    step_clutch, monkeypatch, asked: float, reading: float
) -> None:
    temperatures: list[float] = []
    draw = Sampling.draw
    record = lambda self, logits, chance: temperatures.append(self.temperature) or draw(self, logits, chance)  # noqa: E731
    monkeypatch.setattr(Sampling, "draw", record)
    drawn(step_clutch, ["clap"], sampling=Sampling(temperature=asked))
    told = 1 + len(FIELDS)
    assert temperatures[:told] == [reading] * told
    assert len(temperatures) > told
    assert set(temperatures[told:]) == {asked}


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_cached_and_recomputed_decoding_agree(step_clutch, guidance: float) -> None:
    sampling = Sampling(temperature=0.8, guidance=guidance)
    texts = ["the left hand waves slowly", "clap", "both hands make a fist"]
    pair = [drawn(step_clutch, texts, sampling=sampling, use_cache=cached) for cached in (True, False)]
    for a, b in zip(*pair, strict=True):
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.plan, b.plan)


@torch.no_grad()
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_generation_feeds_what_training_feeds(step_clutch, guidance: float) -> None:
    """The likeliest codes that generation writes are the likeliest of teacher forcing on them, told the same."""
    vocabulary, model = step_clutch.vocabulary, step_clutch.model
    maker, builder = SampleMaker(vocabulary), PromptBuilder(vocabulary)
    texts = ["clap", "the left hand waves slowly"]
    for text, motion in zip(
        texts, drawn(step_clutch, texts, sampling=Sampling(greedy=True, guidance=guidance), steps=6), strict=True
    ):
        nothing = [vocabulary.layout.first_plan] * len(motion.plan)
        samples = [
            Sample(*builder.t2m(caption), *maker.motion_target(motion.tokens, plan))
            for caption, plan in ((text, motion.plan.tolist()), (None, nothing))
        ]
        given, free = model(collate(samples, vocabulary.layout.pad), refine=True).slot_logits
        np.testing.assert_array_equal((free + guidance * (given - free)).argmax(-1).numpy(), motion.tokens)


def test_a_motion_does_not_depend_on_the_texts_beside_it(step_clutch) -> None:
    texts = ["clap", "the left hand waves goodbye, slowly and with large movements", "both hands clap"]
    together = step_clutch.generate(texts, samples=2, guidance=1.5, explain=True)
    for text, own in zip(texts, together, strict=True):
        for a, b in zip(own, step_clutch.generate(text, samples=2, guidance=1.5, explain=True)[0], strict=True):
            np.testing.assert_array_equal(a["tokens"], b["tokens"])
            assert a["plan"] == b["plan"]


@pytest.mark.parametrize("form", ["step", "interleaved"])
def test_each_text_may_have_a_length_of_its_own(step_clutch, clutch, form: str) -> None:
    """Each gets the motion that it gets alone, whatever the lengths beside it."""
    model = step_clutch if form == "step" else clutch
    texts, seconds = ["clap", "the left hand waves goodbye", "both hands clap", "wave"], [2.1, 0.3, 1.6, 0.8]
    together = model.generate(texts, seconds, samples=2, seed=[5, 6, 7, 8])
    assert [[len(m["tokens"]) for m in own] for own in together] == [[8, 8], [1, 1], [6, 6], [3, 3]]
    for k, (text, own) in enumerate(zip(texts, together, strict=True)):
        for a, b in zip(own, model.generate(text, seconds[k], samples=2, seed=5 + k)[0], strict=True):
            np.testing.assert_array_equal(a["tokens"], b["tokens"])
    (numpys,) = model.generate("clap", np.float32(1.6))
    assert len(numpys[0]["tokens"]) == 6
    with pytest.raises(ConfigError, match="Expected seconds for all texts or for each of 4, got 3"):
        model.generate(texts, seconds[:3])
    with pytest.raises(ConfigError, match=r"Expected seconds from 0\.27 to 2\.13, got 9"):
        model.generate(texts, [*seconds[:3], 9.0])


def test_the_plan_answers_each_question_in_its_own_words(step_clutch) -> None:
    kinds = {
        "hands",
        "count",
        "speed",
        "size",
        "direction",
        "circling",
        "turn",
        "shape",
        "palm",
        "handshape",
        "contact",
    }
    for motion in step_clutch.generate("clap", samples=30, temperature=3.0, explain=True)[0]:
        told = [claim.split(":")[0] for claim in motion["plan"]]
        assert set(told) <= kinds | {"relation"}
        order = [next(k for k, field in enumerate(FIELDS.values()) if kind in field) for kind in told]
        assert order == sorted(set(order))


def test_ranking_keeps_the_motion_that_fulfils_most_of_its_plan(step_clutch, monkeypatch) -> None:
    scores = iter([0.2, 0.9, 0.5, 0.1, 0.1, 0.1])
    monkeypatch.setattr("clutch_llm.ranking.fulfilled", lambda plan, codes: next(scores))
    candidates = step_clutch.generate("clap", 1.0, samples=6, explain=True)[0]
    best = step_clutch.generate("clap", 1.0, samples=2, rank=3)[0]
    assert [m["score"] for m in best] == [0.9, 0.1]
    assert best[0]["plan"] == best[1]["plan"]  # all follow the likeliest plan
    assert len(candidates) == 6


def test_a_model_without_plans_says_so(clutch, examples) -> None:
    for options in ({"explain": True}, {"rank": 2}):
        with pytest.raises(ConfigError, match="plan"):
            clutch.generate("clap", **options)
    with pytest.raises(ConfigError, match="plan"):
        train_stage(clutch, examples, PretrainConfig(steps=1, tasks={"plan": 1.0}))
    with pytest.raises(ConfigError, match="step"):
        ClutchConfig(plan=True)
    with pytest.raises(ConfigError, match="motion_form"):
        ClutchConfig(motion_form="frames")


def test_free_writing_is_a_whole_motion_once_its_head_is_right(step_clutch, monkeypatch) -> None:
    layout = step_clutch.vocabulary.layout
    assert not any(step_clutch.well_formed(ids) for ids in step_clutch.generate_free(["clap", "wave"], temperature=5.0))
    hands, none = layout.first_plan + 1, layout.first_plan
    told = [layout.length_id(3), hands, *[none] * 9, layout.som]
    wanted = iter([*told, told[0], none, *told[2:]])
    head = StepModel.head

    def say(self, states):
        return torch.zeros_like(head(self, states)).index_fill(-1, torch.tensor(next(wanted)), 50.0)

    monkeypatch.setattr(StepModel, "head", say)
    (ids,) = step_clutch.generate_free(["clap"], greedy=True)
    assert step_clutch.well_formed(ids)
    assert len(ids) == 2 + 3 * 4
    (ids,) = step_clutch.generate_free(["clap"], greedy=True)  # a plan that says nothing of the hands
    assert not step_clutch.well_formed(ids)


def test_training_refinement_and_a_round_trip_through_a_folder(step_clutch, examples, tmp_path) -> None:
    tasks = {"t2m": 0.4, "m2t": 0.2, "masked": 0.1, "motion": 0.1, "plan": 0.2}
    config = PretrainConfig(steps=25, batch_size=8, log_every=5, warmup=2, tasks=tasks, target_truncation=0.2)
    trained, history = train_stage(step_clutch, examples, config, val_examples=examples[:4])
    assert history[-1]["val/t2m"] < history[0]["loss"]
    refined, history = train_stage(
        trained, examples, RefineConfig(steps=3, batch_size=4, log_every=1), joints_fn=features_to_joints
    )
    assert any("rec/t2m" in row or "rec/masked" in row for row in history)
    refined.save_pretrained(tmp_path / "model")
    opened = Clutch.from_pretrained(tmp_path / "model")
    assert isinstance(opened.model, StepModel)
    assert opened.config == refined.config
    for a, b in zip(*(c.generate("clap", samples=2, explain=True)[0] for c in (refined, opened)), strict=True):
        np.testing.assert_array_equal(a["tokens"], b["tokens"])
        assert a["plan"] == b["plan"]
    assert opened.caption(examples[0]["features"]) == refined.caption(examples[0]["features"])


def test_the_command_tells_the_plan_and_a_model_without_one_says_so(step_clutch, clutch, tmp_path, capsys) -> None:
    for name, model in (("step", step_clutch), ("plain", clutch)):
        model.save_pretrained(tmp_path / name)
    words = ["generate", "clap", "--out", str(tmp_path / "clap.npz"), "--explain", "--rank", "2", "--seconds", "1"]
    main([*words, "--model", str(tmp_path / "step")])
    assert capsys.readouterr().out.splitlines()[0].startswith("clap: ")
    main(["info", "--model", str(tmp_path / "step")])
    assert "8 lengths" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*words, "--model", str(tmp_path / "plain")])
    assert "Expected a model with plans" in capsys.readouterr().err


def test_positions_and_rows_of_a_motion() -> None:
    assert step_positions(3).tolist() == [[1, 3], [2, 2], [3, 1]]
    assert token_rows(np.array([8, 9]), TINY).tolist() == [[8, *[IGNORE] * 3], [9, *[IGNORE] * 3]]
    assert token_rows(np.array([8, 9]), TokenLayout(4, 2)).tolist() == [8, 9]


def test_the_heads_over_tokens_are_no_matrices_for_muon(step_clutch, clutch) -> None:
    for own, heads in ((step_clutch, {"told_head.weight"}), (clutch, set())):
        names = {id(p): name for name, p in own.model.named_parameters()}
        matrices, others, plain = ({names[id(p)] for p in group} for group in parameter_groups(own.model))
        assert others == heads
        assert not any("embed" in name or name.endswith("bias") for name in matrices)
        assert any("embed" in name for name in plain)
        assert matrices | others | plain == set(names.values())
