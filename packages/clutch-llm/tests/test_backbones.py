"""Decoder-only backbones: what sees what, cached decoding, a model from a folder, saving."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clutch_llm import Clutch, ClutchConfig, PretrainConfig, train_stage
from clutch_llm.backbones import CausalBackbone, T5Backbone, kind_of
from clutch_llm.backbones.causal import new_causal
from clutch_llm.errors import ConfigError
from hand_geometry import features_to_joints
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CAPTIONS = ["the left hand waves", "both hands clap"]
SIZES = {"d_model": 32, "d_ff": 64, "heads": 2, "layers": 2, "max_steps": 8, "architecture": "decoder-only"}


@pytest.fixture(scope="module", params=["interleaved", "step"])
def causal(request, tokenizer) -> Clutch:
    config = ClutchConfig(**SIZES, motion_form=request.param, plan=request.param == "step")
    return Clutch.create(config, tokenizer=tokenizer, captions=CAPTIONS, seed=0)


def backbone(*, open_prompt: bool) -> CausalBackbone:
    torch.manual_seed(0)
    sizes = LlamaConfig(vocab_size=9, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    made = new_causal(sizes, light=True).eval()
    made.open_prompt = open_prompt
    return made


def moved(made: CausalBackbone, *, prompt: int | None = None, answer: int | None = None) -> list[bool]:
    """Which of three states of an answer move when one embedding of the prompt or of the answer is changed."""
    torch.manual_seed(1)
    read, written = torch.randn(1, 4, 8), torch.randn(1, 3, 8)
    mask = torch.tensor([[True, True, True, False]])
    with torch.no_grad():
        before = made.decode(written, made.encode(read, mask), mask)
        if prompt is not None:
            read[:, prompt] += 1.0
        if answer is not None:
            written[:, answer] += 1.0
        after = made.decode(written, made.encode(read, mask), mask)
    return [bool(far) for far in (after - before).abs().amax(-1)[0] > 1e-5]


@pytest.mark.parametrize("open_prompt", [True, False])
def test_an_answer_sees_the_prompt_and_what_is_before_it_and_no_padding(open_prompt: bool) -> None:
    made = backbone(open_prompt=open_prompt)
    assert moved(made, prompt=0) == [True, True, True]
    assert moved(made, prompt=3) == [False, False, False]  # padding
    assert moved(made, answer=1) == [False, True, True]


@pytest.mark.parametrize("open_prompt", [True, False])
def test_an_open_prompt_is_read_in_both_directions(open_prompt: bool) -> None:
    made, mask = backbone(open_prompt=open_prompt), torch.ones(1, 4, dtype=torch.bool)
    seen = made._attended(mask, 6)[0, 0].long().tolist()
    first = [1, 1, 1, 1, 0, 0] if open_prompt else [1, 0, 0, 0, 0, 0]
    assert seen[0] == first
    assert seen[4:] == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]


def test_what_follows_goes_on_after_the_last_real_token_of_its_prompt() -> None:
    """So that a short prompt beside a long one is read as it is alone."""
    made, fed = backbone(open_prompt=True), {}
    made.lm.base_model.register_forward_pre_hook(lambda module, args, kept: fed.update(kept), with_kwargs=True)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    with torch.no_grad():
        made.decode(torch.randn(2, 2, 8), made.encode(torch.randn(2, 3, 8), mask), mask)
    assert fed["position_ids"].tolist() == [[0, 1, 2, 3, 4], [0, 1, 2, 1, 2]]


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_cached_generation_equals_the_plain_one(causal, guidance: float, monkeypatch) -> None:
    from clutch_llm.generation import Stepper

    def drawn() -> list[list]:
        motions = causal.generate([*CAPTIONS, "fist"], seconds=1.0, seed=3, guidance=guidance)
        return [motion[0]["tokens"].tolist() for motion in motions]

    cached, made = drawn(), Stepper.__init__
    plain = lambda self, *args, use_cache=True, **how: made(self, *args, use_cache=False, **how)  # noqa: E731
    monkeypatch.setattr(Stepper, "__init__", plain)
    assert drawn() == cached


def test_a_sentence_becomes_the_same_motion_alone_and_among_others(causal) -> None:
    alone = causal.generate(["fist"], seed=1, temperature=1.0)[0][0]["tokens"]
    among = causal.generate(["both hands clap and then the left hand waves", "fist"], seed=1, temperature=1.0)
    np.testing.assert_array_equal(alone, among[1][0]["tokens"])


def test_it_is_trained_saved_and_opened_again(causal, examples, tmp_path: Path) -> None:
    from clutch_llm import RefineConfig

    trained, history = train_stage(causal, examples, PretrainConfig(steps=60, batch_size=8, log_every=20, warmup=5))
    assert history[-1]["loss"] < history[0]["loss"]
    refined, _ = train_stage(trained, examples, RefineConfig(steps=2, batch_size=4), joints_fn=features_to_joints)
    refined.save_pretrained(tmp_path / "clutch")
    again = Clutch.from_pretrained(tmp_path / "clutch")
    assert isinstance(again.model.backbone, CausalBackbone)
    assert again.model.backbone.open_prompt
    first, second = (c.generate(CAPTIONS, seed=1)[1][0]["tokens"] for c in (refined, again))
    np.testing.assert_array_equal(first, second)
    motion = refined.decode([first])[0]["features"]
    assert refined.caption(motion) == again.caption(motion)


def make_llama_folder(folder: Path) -> LlamaForCausalLM:
    """A tiny Llama and a byte-level tokenizer without <pad>, </s> and sentinels, as SmolLM2's is."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(CAPTIONS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    llama = LlamaForCausalLM(sizes)
    llama.save_pretrained(folder)
    return llama


@pytest.mark.parametrize("form", ["interleaved", "step"])
def test_a_llama_from_a_folder_is_taken_over_trained_and_saved(tokenizer, examples, tmp_path: Path, form: str) -> None:
    given = make_llama_folder(tmp_path / "llama")
    config = ClutchConfig(base_model=str(tmp_path / "llama"), max_steps=8, motion_form=form)
    clutch = Clutch.create(config, tokenizer=tokenizer)
    own = given.get_input_embeddings().weight
    torch.testing.assert_close(clutch.model.backbone.embeddings.weight[: len(own)], own)
    assert isinstance(clutch.model.backbone, CausalBackbone)
    assert not clutch.model.backbone.open_prompt
    assert not clutch.model.pooled_prompt.weight.any()
    assert clutch.vocabulary.decode_text(clutch.vocabulary.encode_text("Both hands clap")) == "Both hands clap"
    text = clutch.vocabulary.encode_text("<|endoftext|></s>")
    assert clutch.vocabulary.layout.eos not in text
    assert len(text) > 4
    trained, _ = train_stage(clutch, examples, PretrainConfig(steps=3, batch_size=4))
    trained.save_pretrained(tmp_path / "clutch")
    again = Clutch.from_pretrained(tmp_path / "clutch")
    first, second = (c.generate(["the left hand waves"], seed=1)[0][0]["tokens"] for c in (trained, again))
    np.testing.assert_array_equal(first, second)


def test_a_decoder_only_model_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    GPT2Config(n_embd=8, n_head=1, n_layer=1).save_pretrained(tmp_path / "gpt2")
    with pytest.raises(ConfigError, match=r"got '.*/gpt2', which is a model of the kind 'gpt2'"):
        kind_of(str(tmp_path / "gpt2"))


def test_an_unknown_kind_in_a_saved_model_is_refused(clutch, tmp_path: Path) -> None:
    clutch.save_pretrained(tmp_path / "clutch")
    meta = json.loads((tmp_path / "clutch/config.json").read_text())
    assert meta["backbone"]["kind"] == T5Backbone.kind == "t5"
    meta["backbone"]["kind"] = "mamba"
    (tmp_path / "clutch/config.json").write_text(json.dumps(meta))
    with pytest.raises(ConfigError, match="got 'mamba'"):
        Clutch.from_pretrained(tmp_path / "clutch")


def test_the_architecture_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match=r"architecture one of \('encoder-decoder', 'decoder-only'\), got 'decoder'"):
        dataclasses.replace(ClutchConfig(), architecture="decoder")
