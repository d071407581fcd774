"""What the baselines share: budget, tokenizers, corpus, transformer; and the sampling of each."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipelines.baselines import base, masked, tokens
from pipelines.baselines.base import TIMED_STEPS, Budget
from pipelines.baselines.corpus import Corpus
from pipelines.baselines.decoder import CodeWriter
from pipelines.baselines.diffusion import Diffusion, _schedule, _weights
from pipelines.baselines.masked import MaskedResidual, _hide
from pipelines.baselines.network import Network, NetworkSettings, guided, sample
from pipelines.baselines.tokens import Tokenizers
from tests.baseline_clips import PLAN, SHIFT, TOKENIZERS, TRAINING, Steps, moving_clip

SMALL = NetworkSettings(width=8, layers=2, heads=2)
CLIPS = [moving_clip(k) for k in range(4)]


@pytest.fixture
def seconds(monkeypatch) -> SimpleNamespace:
    """A clock that stands still unless it is moved."""
    time = SimpleNamespace(now=0.0)
    for module in (base, tokens):
        monkeypatch.setattr(module, "clock", lambda: time.now)
    return time


def test_a_budget_is_as_many_steps_as_its_share_of_time_holds(seconds):
    asked = []

    def train(steps: int, on_step) -> None:
        asked.append(steps)
        seconds.now += 7.0  # what comes before the first step is not a step's
        for _ in range(steps):
            seconds.now += 0.5
            on_step()

    budget = Budget(60.0)
    assert budget.steps(0.25, train) == 30
    assert asked == [TIMED_STEPS + 1]
    assert budget.timing == 7.0 + 0.5 * (TIMED_STEPS + 1)
    assert Budget(0.1).steps(1.0, train) == 1


def test_a_tokenizer_is_trained_once_for_a_seed_and_charged_to_all_that_share_it(seconds, monkeypatch, tmp_path: Path):
    trained = []

    def train(clips, config, training, **options):
        trained.append((config.decomposition, training.steps, training.seed, [c["clip_id"] for c in clips]))
        seconds.now += 40.0
        return tokens.ShiftTokenizer(config, seed=training.seed), []

    monkeypatch.setattr(tokens, "train_tokenizer", train)

    def get(kind: str, seed: int = 0, data: str = "data", share: float = 0.25) -> tuple:
        budget = Steps(network=9, tokenizer=5)
        return *Tokenizers(TOKENIZERS, SHIFT, TRAINING, share, tmp_path, data).get(kind, CLIPS, budget, seed), budget

    first, steps, budget = get("plain")
    again, steps_again, later = get("plain")
    assert trained == [("plain", 5, 0, ["train/0", "train/1", "train/2", "train/3"])]
    assert (steps, steps_again, budget.charged, later.charged) == (5, 5, 0.0, 40.0)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    for changed in ({"kind": "shift"}, {"seed": 1}, {"data": "other"}, {"share": 0.3}):
        get(**{"kind": "plain", **changed})
    assert len(trained) == 5


def test_a_corpus_has_the_mirror_images_of_its_clips_with_their_words():
    clips = [{**clip, "paraphrases": ["go up"]} if k == 0 else clip for k, clip in enumerate(CLIPS)]
    corpus = Corpus(clips)
    assert len(corpus.clips) == len(corpus.motions) == 8
    assert corpus.clips[5]["captions"] == ["the left hand moves", "the left hand sinks"]
    assert corpus.motions[5][-1, 97] - corpus.motions[5][0, 97] == pytest.approx(-0.3, abs=1e-5)
    assert {"left", "right", "go", "up", "sinks"} <= set(corpus.words.words)
    rng = np.random.default_rng(0)
    drawn = np.array(corpus.draw(4000, rng))
    assert np.bincount(drawn, minlength=8) == pytest.approx(500, abs=100)
    said = corpus.read([0] * 1000, rng)
    left_out = (said == 0).all(1).float().mean().item()
    assert left_out == pytest.approx(0.1, abs=0.03)
    (go_up,) = corpus.words.encode(["go up"])
    share = (said[:, :2] == go_up).all(1).float().mean().item()
    assert share == pytest.approx(0.45, abs=0.06)


def test_sources_are_drawn_in_proportion_to_the_roots_of_their_sizes():
    clips = [{**CLIPS[0], "source": "large"}] * 9 + [{**CLIPS[1], "source": "small"}]
    drawn = np.array(Corpus(clips).draw(4000, np.random.default_rng(0))) % 10
    assert (drawn == 9).mean() == pytest.approx(0.25, abs=0.03)  # 1 to 3


def network(**options) -> Network:
    torch.manual_seed(0)
    made = Network(SMALL, words=6, longest=5, **options).eval()
    for table in (made.step, made.left, made.slot, made.words):
        torch.nn.init.normal_(table.weight)
    return made


def test_a_position_sees_what_came_before_alone_where_the_network_is_causal():
    x, lengths, ids = torch.randn(1, 4, 8), torch.tensor([4]), torch.tensor([[2, 3]])
    other = x.clone()
    other[:, 2:] = torch.randn(1, 2, 8)
    for causal in (True, False):
        a, b = (network()(value, lengths, ids, causal=causal)[:, :2] for value in (x, other))
        assert torch.allclose(a, b, atol=1e-6) is causal


def test_padding_of_words_and_motion_changes_nothing_and_all_words_are_read():
    x, lengths = torch.randn(2, 4, 8), torch.tensor([2, 4])
    ids = torch.tensor([[2, 0, 0], [2, 3, 4]])
    together = network()(x, lengths, ids)
    alone = network()(x[:1, :2], lengths[:1], ids[:1, :1])
    assert torch.allclose(together[:1, :2], alone, atol=1e-5)
    changed = network()(x, lengths, torch.tensor([[2, 0, 0], [2, 3, 5]]))
    assert not torch.allclose(together[1], changed[1], atol=1e-4)
    longer = network()(x, torch.tensor([3, 4]), ids)
    assert not torch.allclose(together[0, :2], longer[0, :2], atol=1e-4)  # it is told how much is left


def test_no_caption_is_a_row_of_zeros_and_guidance_leads_away_from_it():
    def answer(ids: torch.Tensor) -> torch.Tensor:
        return torch.where((ids == 0).all(1), 1.0, 3.0)

    assert guided(answer, torch.tensor([[4, 0]]), 1.0).tolist() == [3.0]
    assert guided(answer, torch.tensor([[4, 0]]), 2.5).tolist() == [6.0]
    x, ids = torch.randn(1, 3, 8), torch.zeros(1, 2, dtype=torch.int64)
    none = network()(x, torch.tensor([3]), ids)
    assert torch.allclose(none, network()(x, torch.tensor([3]), ids[:, :1]), atol=1e-5)


def test_drawing_follows_the_distribution_and_its_temperature():
    logits = torch.log(torch.tensor([0.8, 0.2])).expand(4000, 2)
    generator = torch.Generator().manual_seed(0)
    assert sample(logits, 1.0, generator).float().mean() == pytest.approx(0.2, abs=0.03)
    assert sample(logits, 0.5, generator).float().mean() == pytest.approx(0.04 / 0.68, abs=0.02)
    assert sample(logits.view(40, 100, 2), 1.0, generator).shape == (40, 100)


def test_a_decoder_writes_each_code_from_those_before_it_in_its_step_and_slot():
    torch.manual_seed(0)
    writer = CodeWriter(SMALL, words=6, longest=3, slots=2, codes=4).eval()
    torch.nn.init.normal_(writer.table.weight)
    lengths, ids = torch.tensor([2]), torch.tensor([[2]])
    whole = writer(torch.tensor([[1, 3, 2]]), lengths, ids)
    assert whole.shape == (1, 4, 4)
    for shown in range(4):
        part = writer(torch.tensor([[1, 3, 2]])[:, :shown], lengths, ids)
        assert torch.allclose(part[:, -1], whole[:, shown], atol=1e-5)
    assert not torch.allclose(whole[:, 2], writer(torch.tensor([[3, 1, 2]]), lengths, ids)[:, 2], atol=1e-3)


def test_a_share_of_each_motions_own_codes_is_hidden_at_least_one():
    own = torch.tensor([[True] * 4 + [False] * 4, [True] * 8, [True] * 8])
    hidden = _hide(own, torch.tensor([0.5, 0.25, 0.0]))
    assert hidden.sum(1).tolist() == [2, 2, 1]
    assert not (hidden & ~own).any()


def test_masked_generation_keeps_what_it_is_surest_of_and_leaves_nothing_hidden(monkeypatch):
    """The stand-in is surest of the last position, then of the one before; it always says its own place."""
    seen = []

    class Networks:
        hidden = 9

        def first(self, codes, lengths, ids):
            seen.append((codes == 9).tolist())
            place = torch.arange(codes.shape[1])
            logits = torch.full((*codes.shape, 9), -1e4)
            logits[:, place, place] = 0.0
            logits[..., 8] = -1.0 - place  # its doubt
            return logits

    monkeypatch.setattr(masked, "sample", lambda logits, *_: logits.argmax(-1))
    baseline = MaskedResidual.__new__(MaskedResidual)
    baseline.networks, baseline.rounds, baseline.temperature, baseline.guidance = Networks(), 2, 0.0, 1.0
    generator = torch.Generator().manual_seed(0)
    codes = baseline._first(torch.tensor([4, 2]), torch.tensor([[2], [2]]), generator)
    assert codes.tolist() == [[0, 1, 2, 3], [0, 1, 0, 0]]
    left = int(4 * math.cos(math.pi / 4))  # hidden after the first of two rounds
    assert seen[1][0] == [True] * left + [False] * (4 - left)
    assert seen[1][1][:2] == [True, False]


def test_diffusion_ends_at_the_motion_that_the_network_sees_in_the_noise(monkeypatch):
    diffusion = Diffusion(PLAN.network, guidance=2.0, rounds=5)
    diffusion.corpus = Corpus(CLIPS)
    diffusion.mean, diffusion.std = torch.full((198,), 0.5), torch.full((198,), 2.0)
    seen = []

    def denoise(noisy, time, lengths, ids):
        seen.append((float(time[0]), noisy.std().item()))
        return torch.arange(noisy.shape[1]).view(1, -1, 1).expand(noisy.shape).float()

    diffusion.denoiser = denoise  # the same with and without a caption
    (short, long) = diffusion.generate(["a", "b"], [3, 6], seed=0)
    assert (short.shape, long.shape) == ((3, 198), (6, 198))
    np.testing.assert_allclose(long[:, 0], 2.0 * np.arange(6) + 0.5, atol=1e-4)
    assert [time for time, _ in seen[::2]] == pytest.approx([0.999 * (1 - k / 5) for k in range(5)])
    assert seen[0][1] == pytest.approx(1.0, abs=0.05)


def test_diffusion_keeps_the_noise_that_it_began_with(monkeypatch):
    """What is left of a noisy motion without the clean one is the same noise in every round, in a smaller share."""
    diffusion = Diffusion(PLAN.network, guidance=1.0, rounds=4)
    diffusion.corpus = Corpus(CLIPS)
    diffusion.mean, diffusion.std = torch.zeros(198), torch.ones(198)
    noises = []

    def denoise(noisy, time, lengths, ids):
        angle = float(time[0]) * math.pi / 2
        noises.append((noisy - math.cos(angle) * 3.0) / math.sin(angle))
        return torch.full_like(noisy, 3.0)

    diffusion.denoiser = denoise
    (made,) = diffusion.generate(["a"], [5], seed=0)
    np.testing.assert_allclose(made, 3.0, atol=1e-5)
    assert len(noises) == 4
    for noise in noises[1:]:
        torch.testing.assert_close(noise, noises[0], atol=1e-4, rtol=1e-4)


def test_signal_and_noise_add_up_and_unseen_hands_weigh_less():
    signal, noise = _schedule(torch.tensor([0.0, 0.5, 1.0]))
    assert signal.flatten().tolist() == pytest.approx([1, math.sqrt(0.5), 0], abs=1e-6)
    assert noise.flatten().tolist() == pytest.approx([0, math.sqrt(0.5), 1], abs=1e-6)
    weights = _weights(np.array([[True, False]]))
    assert weights.shape == (1, 198)
    assert weights[0, 98:100].tolist() == pytest.approx([1.0, 0.2])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"only": ["transformer"]}, "Correct `baselines` in conf"),
        ({"only": []}, "Correct `baselines` in conf"),
        ({"tokenizers": {"plain": {}}}, "tokenizers plain, residual, fsq, shift"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"minutes": 0.0}, "positive baselines.minutes"),
        ({"heads": 5}, "divisible by heads"),
        ({"masked_rounds": 0}, "masked_rounds of at least 1"),
        ({"tokenizer_share": 1.0}, "tokenizer_share between 0 and 1"),
    ],
)
def test_a_plan_that_compares_nothing_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(PLAN, **changes)
