"""LoRA and last layers: what is frozen stays to the bit, what is adapted moves, what is saved is a plain model."""

import copy

import pytest
import torch
from clutch_llm import AdaptConfig, Clutch, ClutchConfig, PretrainConfig, RefineConfig, from_mapping, train_stage
from clutch_llm.adapting import ADAPTER, adapt, merge
from clutch_llm.errors import ConfigError
from clutch_llm.optimizers import parameter_groups
from clutch_llm.training_state import fingerprint
from hand_geometry import features_to_joints
from transformers.models.t5.modeling_t5 import T5LayerFF

CAPTIONS = ["the left hand waves", "both hands clap"]
LORA, LAST = AdaptConfig(method="lora", rank=2, alpha=4), AdaptConfig(method="last_n", layers=1)
SHORT = {"steps": 4, "batch_size": 4, "warmup": 1, "log_every": 2, "learning_rate": 3e-3, "checkpoint_every": 2}


@pytest.fixture(scope="module", params=["encoder-decoder", "decoder-only"])
def base(request, tokenizer) -> Clutch:
    form = "interleaved" if request.param == "encoder-decoder" else "step"
    config = ClutchConfig(
        architecture=request.param, motion_form=form, d_model=32, d_ff=64, heads=2, layers=2, max_steps=8
    )
    return Clutch.create(config, tokenizer=tokenizer, captions=CAPTIONS, seed=0)


def in_layers(name: str) -> bool:
    return ".block." in name or ".layers." in name


def in_last_layer(name: str) -> bool:
    return ".block.1." in name or ".layers.1." in name


def is_map(name: str, value: torch.Tensor) -> bool:
    return value.ndim == 2 and "relative_attention_bias" not in name


def moved(before: Clutch, after: Clutch) -> set[str]:
    old = dict(before.model.named_parameters())
    new = dict(after.model.named_parameters())
    assert old.keys() == new.keys()
    return {name for name, value in new.items() if not torch.equal(value, old[name])}


@pytest.mark.parametrize("stage", [PretrainConfig, RefineConfig], ids=["pretrain", "refine"])
@pytest.mark.parametrize("config", [LORA, LAST], ids=["lora", "last_n"])
def test_what_is_frozen_stays_to_the_bit_and_what_is_adapted_moves(base, examples, tmp_path, config, stage) -> None:
    settings = stage(adapt=config, weight_decay=0.1, **SHORT)
    trained, _ = train_stage(base, examples, settings, joints_fn=features_to_joints)
    changed, layers = moved(base, trained), {n: p for n, p in base.model.named_parameters() if in_layers(n)}
    assert layers
    if config is LORA:
        assert changed & layers.keys() == {name for name, value in layers.items() if is_map(name, value)}
    else:
        assert changed & layers.keys() == {name for name in layers if in_last_layer(name)}
    assert {"slot_embedding.weight", "step_embedding.weight", "pooled_prompt.weight"} <= changed
    words = base.vocabulary.layout.text_size
    old, new = base.model.backbone.embeddings.weight, trained.model.backbone.embeddings.weight
    assert torch.equal(old[:words], new[:words])
    assert not torch.equal(old[words:], new[words:])
    assert all(p.requires_grad for p in trained.model.parameters())

    trained.save_pretrained(tmp_path / "model")
    opened = Clutch.from_pretrained(tmp_path / "model")
    assert not moved(trained, opened)
    motions = [c.generate("both hands clap", seconds=1.0, seed=3)[0][0]["tokens"] for c in (trained, opened)]
    assert (motions[0] == motions[1]).all()


def test_a_head_of_its_own_keeps_its_words_and_learns_its_codes(base, examples) -> None:
    untied = copy.copy(base)
    untied.model = copy.deepcopy(base.model)
    head = untied.model.backbone.transformer.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    trained, _ = train_stage(untied, examples, PretrainConfig(adapt=LORA, **SHORT))
    words = base.vocabulary.layout.text_size
    old, new = untied.model.backbone.head_weight, trained.model.backbone.head_weight
    assert not trained.model.backbone.tied_head
    assert torch.equal(old[:words], new[:words])
    assert not torch.equal(old[words:], new[words:])


@torch.no_grad()
def test_merged_maps_compute_what_the_two_did(base) -> None:
    """The product counts alpha / rank = 2, worked out by hand for one map."""
    model = copy.deepcopy(base.model)
    plain = {name: value.clone() for name, value in model.named_parameters()}
    adapt(model, LORA, seed=0)
    maps = [m for m in model.modules() if hasattr(m, "lora_B")]
    for one in maps:
        one.lora_B[ADAPTER].weight.normal_(0.0, 0.2, generator=torch.Generator().manual_seed(1))
    A, B = maps[0].lora_A[ADAPTER].weight.clone(), maps[0].lora_B[ADAPTER].weight.clone()
    first = next(n for n, p in plain.items() if p is not None and in_layers(n) and is_map(n, p))
    beside = copy.copy(base)
    beside.model = model
    mask = torch.ones(1, 3, dtype=torch.bool)
    read, written = torch.randn(2, 1, 3, 32, generator=torch.Generator().manual_seed(2))
    before = model.backbone.decode(written, model.backbone.encode(read, mask), mask)
    said = beside.generate(CAPTIONS, seconds=1.0, greedy=True)
    merge(model, LORA)
    after = model.backbone.decode(written, model.backbone.encode(read, mask), mask)
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)
    again = beside.generate(CAPTIONS, seconds=1.0, greedy=True)
    for one, other in zip(said, again, strict=True):
        torch.testing.assert_close(one[0]["features"], other[0]["features"], atol=1e-4, rtol=1e-4)
    merged = dict(model.named_parameters())
    assert merged.keys() == plain.keys()
    torch.testing.assert_close(merged[first], plain[first] + 2.0 * B @ A)
    still = base.model.backbone.decode(written, base.model.backbone.encode(read, mask), mask)
    assert (still - before).abs().max() > 1e-2, "the maps did nothing"


def test_the_optimizer_holds_what_is_trained_alone(base) -> None:
    model = copy.deepcopy(base.model)
    adapt(model, LORA, seed=0)
    held = {id(p) for group in parameter_groups(model) for p in group}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    narrow = [p for n, p in model.named_parameters() if "lora_" in n]
    assert narrow
    assert {id(p) for p in narrow} <= held
    assert min(min(p.shape) for p in narrow) == max(min(p.shape) for p in narrow) == 2


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings(
    "ignore:.torch.distributed.(all_gather_into_tensor|reduce_scatter_tensor). is deprecated:FutureWarning"
)
@pytest.mark.parametrize("zero_stage", [0, 1, 3])
@pytest.mark.parametrize("config", [LORA, LAST], ids=["lora", "last_n"])
def test_a_killed_run_goes_on_and_ends_where_one_does_that_was_not(
    base, examples, tmp_path, config, zero_stage
) -> None:
    settings = PretrainConfig(adapt=config, zero_stage=zero_stage, **SHORT)
    if base.vocabulary.layout.stepwise and zero_stage == 3:
        with pytest.raises(ConfigError, match=r"PretrainConfig.zero_stage 0, 1 or 2 for the step form, .* got 3"):
            train_stage(base, examples, settings)
        return
    whole, history = train_stage(base, examples, settings)

    class KilledError(Exception):
        pass

    def kill(step: int, row: dict[str, float]) -> None:
        if step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_stage(base, examples, settings, checkpoint_dir=tmp_path / "s", on_log=kill)
    seen: list[int] = []
    resumed, again = train_stage(
        base, examples, settings, checkpoint_dir=tmp_path / "s", on_log=lambda step, row: seen.append(step)
    )
    assert (tmp_path / "s").exists() is False
    assert seen == [2, 4]
    assert again == history
    assert not moved(whole, resumed)


def test_what_is_trained_is_part_of_a_runs_fingerprint(base, examples) -> None:
    marks = {fingerprint(base.model, examples, PretrainConfig(adapt=c)) for c in (AdaptConfig(), LORA, LAST)}
    assert len(marks) == 3


def test_more_layers_than_there_are_are_refused(base, examples) -> None:
    with pytest.raises(ConfigError, match=r"AdaptConfig.layers of at most 2, which the backbone has, got 3"):
        train_stage(base, examples, PretrainConfig(adapt=AdaptConfig(method="last_n", layers=3), **SHORT))


def test_settings_come_from_plain_values_and_wrong_ones_are_refused() -> None:
    made = from_mapping(PretrainConfig, {"adapt": {"method": "lora", "rank": 4}})
    assert made.adapt == AdaptConfig(method="lora", rank=4)
    with pytest.raises(ConfigError, match="one of \\('full', 'lora', 'last_n'\\), got 'lora2'"):
        from_mapping(PretrainConfig, {"adapt": {"method": "lora2"}})
    with pytest.raises(ConfigError, match="got 'ranks'"):
        from_mapping(PretrainConfig, {"adapt": {"ranks": 4}})
    with pytest.raises(ConfigError, match=r"PretrainConfig.adapt of type"):
        from_mapping(PretrainConfig, {"adapt": "lora"})
    with pytest.raises(ConfigError, match=r"AdaptConfig.rank of at least 1, got 0"):
        AdaptConfig(rank=0)
    with pytest.raises(ConfigError, match=r"AdaptConfig.alpha above 0, got 0"):
        AdaptConfig(alpha=0)


def test_checkpointing_computes_layers_twice_and_trains_the_same(tokenizer, examples, monkeypatch) -> None:
    """With dropout, which has to be drawn alike twice; sums of gradients are in another order."""
    config = ClutchConfig(d_model=32, d_ff=64, heads=2, layers=2, max_steps=8, dropout=0.2)
    base = Clutch.create(config, tokenizer=tokenizer, captions=CAPTIONS, seed=0)
    calls: list[int] = []
    forward = T5LayerFF.forward
    monkeypatch.setattr(T5LayerFF, "forward", lambda *args: calls.append(1) or forward(*args))
    plain, history = train_stage(base, examples, PretrainConfig(**SHORT))
    once = len(calls)
    saving, again = train_stage(base, examples, PretrainConfig(gradient_checkpointing=True, **SHORT))
    assert len(calls) - once == 2 * once > 0
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in history], rel=1e-5)
    for one, other in zip(plain.model.parameters(), saving.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in saving.model.modules())
