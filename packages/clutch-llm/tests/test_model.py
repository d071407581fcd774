import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clutch_llm import Clutch, ClutchConfig, ClutchModel
from clutch_llm.backbones.t5 import T5Backbone, new_t5, t5_config
from clutch_llm.batching import SampleMaker, collate
from clutch_llm.errors import ConfigError
from clutch_llm.model import IGNORE, TokenBatch
from clutch_llm.vocabulary import TokenLayout
from transformers import T5Config, T5ForConditionalGeneration


def batch_of(clutch: Clutch, examples, task: str = "t2m"):
    maker = SampleMaker(clutch.vocabulary)
    return collate([maker.make(task, e, np.random.default_rng(0)) for e in examples], clutch.vocabulary.layout.pad)


#: Text 0..3 with pad 0 and end 1; codes of codebook 0 at 4..5 and of codebook 1 at 6..7; som 8, eom 9, mask 10.
TINY = TokenLayout(text_size=4, codebook_size=2)


def tiny(width: int = 2) -> ClutchModel:
    """A model of width 2 whose tables are known: token i is (i, 0), slot s (0, s), step t (0, 10 t)."""
    sizes = T5Config(vocab_size=TINY.size, d_model=width, d_kv=1, d_ff=1, num_layers=1, num_heads=1)
    model = ClutchModel(T5Backbone(T5ForConditionalGeneration(sizes)), TINY, max_steps=3).eval()
    with torch.no_grad():
        model.backbone.embeddings.weight[:, 0], model.backbone.embeddings.weight[:, 1] = torch.arange(TINY.size), 0.0
        model.slot_embedding.weight[:, 0], model.slot_embedding.weight[:, 1] = 0.0, torch.arange(5)
        model.step_embedding.weight[:, 0], model.step_embedding.weight[:, 1] = 0.0, 10.0 * torch.arange(5)
        model.pooled_prompt.weight.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    return model


@torch.no_grad()
def test_an_input_is_the_sum_of_its_token_its_slot_and_its_step() -> None:
    ids, positions = torch.tensor([[3, 8, 4, 7, 5]]), torch.tensor([[0, 0, 1, 4, 9]])
    #                                   text     som    slot 1, step 1   slot 4, step 1   slot 1, step 3
    assert tiny().embed(ids, positions).tolist() == [[[3, 0], [8, 0], [4, 11], [7, 14], [5, 31]]]


@torch.no_grad()
def test_the_pooled_prompt_is_the_mapped_sum_of_what_is_no_padding() -> None:
    """Over four tokens with positions: (3 + 1 + 4 + 8, 11) over the root of 4, x and y changed and x doubled."""
    ids, positions = torch.tensor([[3, 1, 4, 8, 7, 7]]), torch.tensor([[0, 0, 1, 0, 2, 3]])
    mask = torch.tensor([[True] * 4 + [False] * 2])
    assert tiny().encode(ids, mask, positions).pooled.tolist() == [[[5.5, 16.0]]]


@torch.no_grad()
def test_the_decoder_sees_the_labels_before_with_hidden_ones_masked_and_its_own_positions(monkeypatch) -> None:
    model, fed = tiny(), {}

    def decode(ids, positions, encoded, mask, cache=None):
        fed.update(ids=ids.tolist(), positions=positions.tolist(), mask=mask.tolist())
        return torch.zeros(*ids.shape, 2)

    monkeypatch.setattr(model, "decode", decode)
    batch = TokenBatch(
        prompt=torch.tensor([[3, 1], [1, 0]]),
        prompt_mask=torch.tensor([[True, True], [True, False]]),
        prompt_positions=torch.zeros(2, 2, dtype=torch.int64),
        target=torch.tensor([[8, 4, 6, 5, 7, 9], [3, 1, IGNORE, IGNORE, IGNORE, IGNORE]]),
        target_positions=torch.tensor([[0, 1, 2, 3, 4, 5], [0] * 6]),
        target_hidden=torch.tensor([[False, True, False, False, True, False], [False] * 6]),
    )
    loss = model(batch).loss
    assert fed["ids"] == [[0, 8, 10, 6, 5, 10], [0, 3, 1, 0, 0, 0]]
    assert fed["positions"] == batch.target_positions.tolist()
    assert fed["mask"] == batch.prompt_mask.tolist()
    assert float(loss) == pytest.approx(np.log(11))  # states of zeros: eleven tokens alike


@torch.no_grad()
def test_heads_are_rows_of_one_table_by_slot() -> None:
    model = tiny()
    model.backbone.t5.lm_head.weight = model.backbone.embeddings.weight
    states = torch.tensor([[1.0, 0.0]])
    assert model.head(states).tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]]
    assert [model.slot_head(states, slot).tolist() for slot in range(4)] == [[[4, 5]], [[6, 7]], [[4, 5]], [[6, 7]]]
    assert model.head_of(states, TINY.eom).tolist() == [[9]]


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_without_positions_and_pooled_prompt_the_logits_are_those_of_transformers(tied: bool) -> None:
    """T5 v1.0 scales what the tied head reads by the root of the width; v1.1 (Flan) does not."""
    sizes = T5Config(
        vocab_size=TINY.size, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, tie_word_embeddings=tied,
        feed_forward_proj="relu" if tied else "gated-gelu", scale_decoder_outputs=tied, decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    t5 = T5ForConditionalGeneration(sizes).eval()
    model = ClutchModel(T5Backbone(t5), TINY, max_steps=3).eval()
    for table in (model.slot_embedding, model.step_embedding, model.pooled_prompt):
        table.weight.zero_()
    prompt, written = torch.tensor([[3, 2, 1, 0, 0]]), torch.tensor([[0, 8, 4, 7]])
    mask, positions = torch.tensor([[True] * 3 + [False] * 2]), torch.tensor([[0, 1, 2, 3]])
    expected = t5(input_ids=prompt, attention_mask=mask.long(), decoder_input_ids=written).logits
    encoded = model.encode(prompt, mask, torch.zeros_like(prompt))
    torch.testing.assert_close(model.head(model.decode(written, positions, encoded, mask)), expected)
    assert float(expected.std()) > 0.1


@torch.no_grad()
def test_padding_changes_nothing(clutch, examples) -> None:
    """The loss of a padded batch is the mean of the losses of its rows alone, weighted by their tokens."""
    for task in ("t2m", "m2t"):
        rows = [examples[3], examples[0]]
        whole = clutch.model(batch_of(clutch, rows, task)).loss
        alone = [batch_of(clutch, [r], task) for r in rows]
        sizes = torch.tensor([float((b.target != IGNORE).sum()) for b in alone])
        losses = torch.stack([clutch.model(b).loss for b in alone])
        torch.testing.assert_close(whole, (losses * sizes).sum() / sizes.sum(), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_batch_in_two_parts_counts_as_one(clutch, examples) -> None:
    rows = [examples[3], examples[0], examples[1]]
    whole = clutch.model(batch_of(clutch, rows), refine=True)
    parts = clutch.model(batch_of(clutch, rows[:1]), batch_of(clutch, rows[1:]), refine=True)
    torch.testing.assert_close(parts.loss, whole.loss, atol=1e-5, rtol=1e-5)
    assert torch.equal(parts.step_mask, whole.step_mask)
    real = whole.step_mask[..., None, None]
    torch.testing.assert_close(parts.slot_logits * real, whole.slot_logits * real, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_slot_logits_are_the_full_logits_of_their_codebook(clutch, examples) -> None:
    batch = batch_of(clutch, [examples[3], examples[0]])
    out = clutch.model(batch, refine=True)
    assert out.slot_logits is not None
    assert out.slot_logits.shape == (2, 8, 4, 24)
    assert out.step_mask.sum(1).tolist() == [2, 8]
    # The same cross-entropy by way of the full vocabulary, where only the slot's own codes may be drawn.
    layout, model = clutch.vocabulary.layout, clutch.model
    encoded = model.encode(batch.prompt, batch.prompt_mask, batch.prompt_positions)
    shifted = F.pad(batch.target[:, :-1].clamp(min=0), (1, 0))
    full = model.head(model.decode(shifted, batch.target_positions, encoded, batch.prompt_mask))
    for step, slot in ((0, 0), (3, 1), (7, 3)):
        start, stop = layout.slot_range(slot)
        expected = full[1, 1 + step * 4 + slot, start:stop]
        torch.testing.assert_close(out.slot_logits[1, step, slot], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_model_is_told_its_slot_and_step(clutch) -> None:
    """The same input at another position gives other states: what T5's relative positions alone cannot see."""
    ids = torch.full((1, 1), clutch.vocabulary.layout.text_size)
    states = {p: clutch.model.embed(ids, torch.tensor([[p]])) for p in (0, 1, 2, 5)}
    for a, b in ((0, 1), (1, 2), (1, 5)):
        assert not torch.allclose(states[a], states[b])


def test_motion_embeddings_start_at_the_codebooks(clutch, tokenizer) -> None:
    """Codes that are close in the codebook are close in the language model."""
    start, stop = clutch.vocabulary.layout.slot_range(1)
    rows = clutch.model.backbone.embeddings.weight[start:stop].detach()
    codes = tokenizer.codebooks()[1]
    whitened = (codes - codes.mean(0)) / codes.std(0)
    seen = np.corrcoef(torch.pdist(rows), torch.pdist(whitened))[0, 1]
    assert seen > 0.999


@torch.no_grad()
def test_motion_tokens_start_with_the_spread_of_text_tokens(clutch) -> None:
    layout = clutch.vocabulary.layout
    table = clutch.model.backbone.embeddings.weight.detach()
    for slot in (0, 1):
        start, stop = layout.slot_range(slot)
        assert float(table[start:stop].std()) == pytest.approx(float(table[: layout.text_size].std()), rel=1e-3)
    assert float(clutch.model.slot_embedding.weight[1:].std()) == pytest.approx(
        float(table[: layout.text_size].std()), rel=0.3
    )
    assert not clutch.model.slot_embedding.weight[0].any()
    assert not clutch.model.step_embedding.weight[0].any()


def test_the_papers_model_is_laid_out_without_network_or_memory() -> None:
    config = ClutchConfig.paper()
    layout = TokenLayout(text_size=32100, codebook_size=4096, sentinels=tuple(range(32099, 31999, -1)))
    with torch.device("meta"):
        model = ClutchModel(new_t5(t5_config(config, layout), light=False), layout, config.max_steps)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert all(p.is_meta for p in model.parameters())
    assert 220 < millions < 270  # Flan-T5-base has 248 M; 8,195 more tokens, one tied table less


def test_an_unknown_base_model_without_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match="known sizes"):
        t5_config(ClutchConfig(base_model="somebody/t5"), TokenLayout(10, 5))
