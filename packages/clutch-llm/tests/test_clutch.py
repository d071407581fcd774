import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, from_mapping, train_stage
from clutch_llm.errors import ClutchError, ConfigError, DataError
from clutch_llm.vocabulary import SPECIALS


def test_the_model_card_tells_stages_and_limits(clutch, examples, tmp_path: Path) -> None:
    trained, _ = train_stage(clutch, examples, PretrainConfig(steps=3, batch_size=4, seed=11))
    trained.save_pretrained(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text()
    assert "PretrainConfig: 3 steps, seed 11" in card
    assert "Motions have 15 frames a second and last up to 2.1 s." in card
    assert "## Limits" in card
    assert Clutch.from_pretrained(tmp_path / "m").stages == trained.stages


def make_t5_folder(folder: Path, text_tokenizer, *, tied: bool) -> None:
    """A tiny T5 and a tokenizer of T5's own kind, as a user's folder holds them."""
    from transformers import T5Config, T5ForConditionalGeneration

    text_tokenizer.save_pretrained(folder)
    sizes = T5Config(
        vocab_size=len(text_tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", tie_word_embeddings=tied, decoder_start_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    T5ForConditionalGeneration(sizes).save_pretrained(folder)


@pytest.mark.parametrize("tied", [True, False])
def test_a_t5_from_a_folder_is_taken_over_trained_and_saved(
    tokenizer, examples, small_config, make_t5_tokenizer, tmp_path: Path, tied: bool
) -> None:
    make_t5_folder(tmp_path / "t5", make_t5_tokenizer(), tied=tied)
    from transformers import T5ForConditionalGeneration

    given = T5ForConditionalGeneration.from_pretrained(tmp_path / "t5").shared.weight
    clutch = Clutch.create(dataclasses.replace(small_config, base_model=str(tmp_path / "t5")), tokenizer=tokenizer)
    text_size = clutch.vocabulary.layout.text_size
    assert clutch.model.backbone.t5.config.d_model == 16
    torch.testing.assert_close(clutch.model.backbone.embeddings.weight[:text_size], given[:text_size])
    assert clutch.vocabulary.decode_text(clutch.vocabulary.encode_text("the left hand waves")) == "the left hand waves"
    trained, _ = train_stage(clutch, examples, PretrainConfig(steps=3, batch_size=4))
    trained.save_pretrained(tmp_path / "clutch")
    again = Clutch.from_pretrained(tmp_path / "clutch")
    first, second = (c.generate(["the left hand waves"], seed=1)[0][0]["tokens"] for c in (trained, again))
    np.testing.assert_array_equal(first, second)


def test_the_pooled_prompt_starts_as_a_rotation_without_a_base_model_and_as_zero_with_one(
    clutch, tokenizer, small_config, make_t5_tokenizer, tmp_path: Path
) -> None:
    weight = clutch.model.pooled_prompt.weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(32), atol=1e-5, rtol=0)
    make_t5_folder(tmp_path / "t5", make_t5_tokenizer(), tied=True)
    based = Clutch.create(dataclasses.replace(small_config, base_model=str(tmp_path / "t5")), tokenizer=tokenizer)
    assert not based.model.pooled_prompt.weight.any()


def test_a_base_model_in_half_precision_is_trained_in_float32(
    tokenizer, small_config, make_t5_tokenizer, tmp_path: Path
) -> None:
    from transformers import T5ForConditionalGeneration

    make_t5_folder(tmp_path / "t5", make_t5_tokenizer(), tied=False)
    half = T5ForConditionalGeneration.from_pretrained(tmp_path / "t5", dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "t5")
    based = Clutch.create(dataclasses.replace(small_config, base_model=str(tmp_path / "t5")), tokenizer=tokenizer)
    assert {p.dtype for p in based.model.parameters()} == {torch.float32}


def test_a_base_model_that_is_not_there_is_named(tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ClutchError, match="nowhere"):
        Clutch.create(ClutchConfig(base_model=str(tmp_path / "nowhere")), tokenizer=tokenizer)


def test_a_base_model_of_another_kind_is_named_with_what_it_is(tokenizer, tmp_path: Path) -> None:
    from transformers import BertConfig

    BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1).save_pretrained(tmp_path / "bert")
    with pytest.raises(ConfigError, match=r"or one of llama, .*, got '.*/bert', which is a model of the kind 'bert'"):
        Clutch.create(ClutchConfig(base_model=str(tmp_path / "bert")), tokenizer=tokenizer)


def test_the_same_seed_creates_the_same_model(tokenizer, small_config) -> None:
    first, again, other = (
        Clutch.create(small_config, tokenizer=tokenizer, captions=["the left hand waves"], seed=s) for s in (0, 0, 1)
    )
    pairs = [(dict(c.model.named_parameters())) for c in (first, again, other)]
    assert all(torch.equal(pairs[0][n], pairs[1][n]) for n in pairs[0])
    assert not all(torch.equal(pairs[0][n], pairs[2][n]) for n in pairs[0])


@pytest.mark.parametrize("texts", [[""], ["  "], [3]])
def test_texts_that_say_nothing_are_refused(clutch, texts) -> None:
    with pytest.raises(DataError, match="says what the hands do"):
        clutch.generate(texts)


def test_settings_from_yaml_are_checked_by_name_and_type() -> None:
    assert from_mapping(ClutchConfig, {"d_model": 64, "base_model": None}).d_model == 64
    with pytest.raises(ConfigError, match=r"it is the motion tokenizer's, ShiftConfig\.fps"):
        from_mapping(ClutchConfig, {"fps": 15})
    with pytest.raises(ConfigError, match="got 'd_modle'"):
        from_mapping(ClutchConfig, {"d_modle": 64})
    with pytest.raises(ConfigError, match="learning_rate"):
        from_mapping(PretrainConfig, {"learning_rate": "1e-3"})
    with pytest.raises(ConfigError, match="steps"):
        from_mapping(PretrainConfig, {"steps": True})
    assert from_mapping(PretrainConfig, {"tasks": {"t2m": 1}}).tasks == {"t2m": 1}


def test_special_tokens_of_the_vocabulary_are_those_of_t5() -> None:
    assert SPECIALS[:3] == ("<pad>", "</s>", "<extra_id_0>")
