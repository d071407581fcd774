import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, from_mapping, train_stage
from clutch_llm.errors import CheckpointError, ClutchError, ConfigError, DataError
from clutch_llm.vocabulary import SPECIALS


def test_a_saved_model_generates_and_captions_the_same(clutch, clips, tmp_path: Path) -> None:
    clutch.save_pretrained(tmp_path / "model")
    again = Clutch.from_pretrained(tmp_path / "model")
    assert again.config == clutch.config
    assert again.n_parameters == clutch.n_parameters
    for a, b in zip(clutch.generate(["a", "b"], seed=3), again.generate(["a", "b"], seed=3), strict=True):
        np.testing.assert_array_equal(a[0]["features"], b[0]["features"])
    assert again.caption(clips[0]["features"]) == clutch.caption(clips[0]["features"])
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert names == {
        "config.json",
        "model.safetensors",
        "text_tokenizer.json",
        "tokenizer",
        "README.md",
        "generation_config.json",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["model"]  # nothing left beside it


def test_saving_over_a_model_replaces_it(clutch, tmp_path: Path) -> None:
    clutch.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "stale").write_text("x")
    clutch.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "stale").exists()


def test_a_failed_save_leaves_the_old_model(clutch, tmp_path: Path, monkeypatch) -> None:
    clutch.save_pretrained(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def full(*args, **kwargs) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("clutch_llm.files.save_file", full)
    with pytest.raises(OSError, match="No space"):
        clutch.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_model_card_tells_stages_and_limits(clutch, examples, tmp_path: Path) -> None:
    trained, _ = train_stage(clutch, examples, PretrainConfig(steps=3, batch_size=4, seed=11))
    trained.save_pretrained(tmp_path / "m")
    card = (tmp_path / "m" / "README.md").read_text()
    assert "PretrainConfig: 3 steps, seed 11" in card
    assert "## Limits" in card
    assert Clutch.from_pretrained(tmp_path / "m").stages == trained.stages


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "text_tokenizer.json"])
@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_a_missing_or_broken_file_is_named(clutch, tmp_path: Path, name: str, harm: str) -> None:
    clutch.save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / name
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ClutchError, match=str(tmp_path / "m")):
        Clutch.from_pretrained(tmp_path / "m")


def test_a_folder_of_another_version_is_refused(clutch, tmp_path: Path) -> None:
    clutch.save_pretrained(tmp_path / "m")
    meta = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**meta, "format_version": 99}))
    with pytest.raises(CheckpointError, match="format version 1 to 2, got 99"):
        Clutch.from_pretrained(tmp_path / "m")


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
    assert clutch.model.t5.config.d_model == 16
    torch.testing.assert_close(clutch.model.t5.shared.weight[:text_size], given[:text_size])
    assert clutch.vocabulary.decode_text(clutch.vocabulary.encode_text("the left hand waves")) == "the left hand waves"
    trained, _ = train_stage(clutch, examples, PretrainConfig(steps=3, batch_size=4))
    trained.save_pretrained(tmp_path / "clutch")
    again = Clutch.from_pretrained(tmp_path / "clutch")
    first, second = (c.generate(["the left hand waves"], seed=1)[0][0]["tokens"] for c in (trained, again))
    np.testing.assert_array_equal(first, second)


def test_a_base_model_that_is_not_there_is_named(tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ClutchError, match="nowhere"):
        Clutch.create(ClutchConfig(base_model=str(tmp_path / "nowhere")), tokenizer=tokenizer)


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


def test_features_of_another_shape_are_refused(clutch) -> None:
    with pytest.raises(DataError, match=r"\(T, 198\)"):
        clutch.caption(np.zeros((8, 99), dtype=np.float32))


def test_settings_from_yaml_are_checked_by_name_and_type() -> None:
    assert from_mapping(ClutchConfig, {"d_model": 64, "base_model": None}).d_model == 64
    with pytest.raises(ConfigError, match="got 'd_modle'"):
        from_mapping(ClutchConfig, {"d_modle": 64})
    with pytest.raises(ConfigError, match="learning_rate"):
        from_mapping(PretrainConfig, {"learning_rate": "1e-3"})
    with pytest.raises(ConfigError, match="steps"):
        from_mapping(PretrainConfig, {"steps": True})
    assert from_mapping(PretrainConfig, {"tasks": {"t2m": 1}}).tasks == {"t2m": 1}


def test_special_tokens_of_the_vocabulary_are_those_of_t5() -> None:
    assert SPECIALS[:3] == ("<pad>", "</s>", "<extra_id_0>")
