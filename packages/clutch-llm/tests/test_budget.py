"""What training takes, against figures worked by hand and models that are there."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clutch_llm import Clutch, ClutchConfig, InstructConfig, PretrainConfig, RefineConfig, ReinforceConfig
from clutch_llm.budget import GIB, Assumptions, Sizes, _activations, budget_of, read_environment, sizes_of
from clutch_llm.cli import main
from clutch_llm.errors import ConfigError

#: Width 4, one head; 100 parameters read and 200 write; 10 tokens; 1,000 parameters in all.
SIZES = Sizes(4, 1, 1, 1, 100, 200, 10, 1000)
PLAIN = Assumptions(peak_tflops=1e-6, utilisation=0.5, prompt_tokens=3, codebook_size=24)


def test_parameters_are_those_of_the_models_that_are_there(clutch, tokenizer) -> None:
    step = ClutchConfig(d_model=64, d_ff=128, heads=2, layers=2, max_steps=8, motion_form="step", plan=True)
    one_stack = replace(step, architecture="decoder-only")
    models = clutch, *(Clutch.create(c, tokenizer=tokenizer, captions=["both hands clap"]) for c in (step, one_stack))
    for made in models:
        text = made.vocabulary.layout.text_size
        config = replace(made.config, text_vocabulary=1000)
        found = sizes_of(config, PLAIN)
        words = (found.vocabulary - made.vocabulary.layout.size) * found.width  # the limit, and what there is
        assert found.vocabulary - made.vocabulary.layout.size == 1000 - text
        assert found.parameters - words == pytest.approx(made.n_parameters, rel=0.02)


def test_flan_t5_base_has_250_million_parameters() -> None:
    assert sizes_of(ClutchConfig.paper(), replace(PLAIN, codebook_size=1)).parameters == pytest.approx(248e6, rel=0.01)


def test_activations_are_as_counted_by_hand() -> None:
    """3 tokens are read, 5 written: 3 (34 x 4 + 5 x 3), 5 (45 x 4 + 5 x 8), and 8 bytes for each of 5 x 10 logits."""
    assert _activations(SIZES, 3, 5) == 3 * (136 + 15) + 5 * (180 + 40) + 400


def budget(monkeypatch, stage: Any, gpus: int = 1) -> Any:
    monkeypatch.setattr("clutch_llm.budget.sizes_of", lambda config, assumed: SIZES)
    (found,) = budget_of(ClutchConfig(max_steps=2), {"stage": stage}, replace(PLAIN, gpus=gpus))
    return found


FORWARD = 2 * (100 * 3 + (200 + 40) * 10) + 4 * 4 * (9 + 10 * 13)  # of 3 tokens and a motion of 2 x 4 codes


def test_time_is_operations_at_the_rate_that_is_reached(monkeypatch) -> None:
    """Half of 10^6 operations a second; a batch of 8; forward and backward are three times forward."""
    plain = budget(monkeypatch, PretrainConfig(steps=10, batch_size=8))
    assert plain.step_tflop == pytest.approx(8 * 3 * FORWARD / 1e12)
    assert plain.hours == pytest.approx(10 * 8 * 3 * FORWARD / 0.5e6 / 3600)
    assert budget(monkeypatch, PretrainConfig(steps=10, batch_size=8), gpus=4).hours == pytest.approx(plain.hours / 4)
    refined = budget(monkeypatch, RefineConfig(steps=10, batch_size=8))
    assert refined.hours == pytest.approx(1.5 * plain.hours)
    assert budget(monkeypatch, RefineConfig(steps=10, batch_size=8, control=True)).hours == pytest.approx(plain.hours)
    drawn = budget(monkeypatch, ReinforceConfig(steps=10, batch_size=8, samples=5))
    assert drawn.hours == pytest.approx(plain.hours * 5 * (3 + 1 + 10) / 3)


@pytest.mark.parametrize(
    ("zero_stage", "precision", "expected"),
    [
        (0, "fp32", (4000, 4000, 8000)),
        (1, "fp32", (4000, 4000, 2000)),
        (0, "bf16", (2000, 2000, 12000)),
        (1, "bf16", (2000, 2000, 3000)),
        (2, "bf16", (2000, 500, 3000)),
        (3, "bf16", (500, 500, 3000)),
    ],
)
def test_zero_shares_out_what_it_says_over_four_gpus(monkeypatch, zero_stage, precision, expected) -> None:
    stage = InstructConfig(steps=1, batch_size=8, zero_stage=zero_stage, precision=precision)
    found = budget(monkeypatch, stage, gpus=4)
    assert [round(GIB * held) for held in (found.weights, found.gradients, found.optimizer)] == list(expected)
    each = 2 * _activations(SIZES, 3, 10) * (1 if precision == "bf16" else 2)
    assert found.activations * GIB == pytest.approx(each)
    assert found.memory * GIB == pytest.approx(sum(expected) + each)


def test_reinforcement_holds_two_models_and_all_motions_of_its_captions(monkeypatch) -> None:
    stage = ReinforceConfig(steps=1, batch_size=4, samples=6, micro_batch_size=2)
    found = budget(monkeypatch, stage)
    assert round(GIB * found.weights) == 8000
    assert found.activations * GIB == pytest.approx(2 * 12 * _activations(SIZES, 3, 10))
    assert budget_of(ClutchConfig(), {"reinforce": ReinforceConfig()}, PLAIN) == []


def test_the_command_reads_an_environment_over_base(tmp_path: Path, capsys) -> None:
    for env, text in (
        ("base", "llm: {d_model: 32, max_steps: 4}\npretrain: {steps: 30, batch_size: 8}\nrefine: {steps: 7}\n"),
        ("mine", "llm: {d_ff: 64}\npretrain: {batch_size: 12}\ntokenizer: {model: {codebook_size: 32}}\n"),
    ):
        (tmp_path / env).mkdir()
        (tmp_path / env / "parameters.yml").write_text(text)
    config, stages, tokenizer = read_environment(tmp_path, "mine")
    assert (config.d_model, config.d_ff, config.max_steps, tokenizer) == (32, 64, 4, {"codebook_size": 32})
    assert stages == {"pretrain": PretrainConfig(steps=30, batch_size=12), "refine": RefineConfig(steps=7)}
    main(["budget", "--conf", str(tmp_path), "--env", "mine", "--gpus", "4"])
    told = capsys.readouterr().out
    assert "4 GPUs" in told
    assert "Assumed: 312 TFLOP/s a GPU, of which 30% are reached" in told
    assert [line.split()[:2] for line in told.splitlines() if line.strip().startswith(("pretrain", "refine"))] == [
        ["pretrain", "30"],
        ["refine", "7"],
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "0"], "gpus of at least 1, got 0"),
        (["--gpus", "3"], "pretrain.batch_size divisible by the 3 GPUs, got 8"),
        (["--utilisation", "1.5"], r"a utilisation in \(0, 1\], got 1.5"),
        (["--env", "none"], "Expected settings in .*none/parameters.yml"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(arguments, message, tmp_path: Path, capsys) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/parameters.yml").write_text("pretrain: {batch_size: 8}\n")
    with pytest.raises(SystemExit):
        main(["budget", "--conf", str(tmp_path), *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_a_model_whose_sizes_are_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="Expected a base model of google"):
        sizes_of(ClutchConfig(base_model="gpt2"), PLAIN)
