import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clutch_llm.batching import SampleMaker, collate
from clutch_llm.refinement import (
    JOINT_SCALE,
    VELOCITY_SCALE,
    TrueMotion,
    code_distances,
    draw_codes,
    gumbel_noise,
    motion_distances,
    refinement_distances,
)
from hand_geometry import features_to_joints
from shift_tokenizer import ShiftConfig, ShiftTokenizer


def forward(clutch, examples):
    maker = SampleMaker(clutch.vocabulary)
    batch = collate([maker.make("t2m", e, np.random.default_rng(0)) for e in examples], clutch.vocabulary.layout.pad)
    return clutch.model(batch, refine=True)


def padded_one_hot(rows: list[torch.Tensor], size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows (L_i, n_slots) as one-hot distributions (B, L, n_slots, K), noise on the padding; and their mask."""
    longest = max(len(row) for row in rows)
    p = torch.rand(len(rows), longest, rows[0].shape[1], size, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for k, row in enumerate(rows):
        p[k, : len(row)], mask[k, : len(row)] = F.one_hot(row, size).float(), True
    return p, mask


@pytest.mark.parametrize("hard", [True, False])
def test_the_gradient_of_the_motion_reaches_the_language_model(clutch, examples, tokenizer, hard: bool) -> None:
    """Without cross-entropy, decoder, encoder and head get a finite, non-zero gradient."""
    out = forward(clutch, examples[:4])
    noise = gumbel_noise([1, 2, 3, 4], out.step_mask, out.slot_logits.shape[2:])
    loss = refinement_distances(
        out.slot_logits,
        out.step_mask,
        noise,
        TrueMotion.of(examples[:4]),
        tokenizer,
        temperature=1.0,
        hard=hard,
        joints_fn=features_to_joints,
    ).sum()
    clutch.model.zero_grad()
    loss.backward()
    t5 = clutch.model.backbone.t5
    weights = (
        t5.shared.weight,
        t5.encoder.block[0].layer[0].SelfAttention.q.weight,
        t5.decoder.block[0].layer[1].EncDecAttention.v.weight,
        clutch.model.slot_embedding.weight,
    )
    for weight in weights:
        assert weight.grad is not None
        assert torch.isfinite(weight.grad).all()
        assert weight.grad.abs().sum() > 0
    clutch.model.zero_grad()


@pytest.mark.parametrize("lengths", [[8, 8], [8, 3, 1], [2, 8, 5, 4]])
def test_a_padded_batch_of_one_hot_samples_is_decoded_as_each_clip_alone(lengths: list[int]) -> None:
    """What refinement compares is what generation shows, also where steps are predicted from those before."""
    tokenizer = ShiftTokenizer(ShiftConfig(width=16, codebook_size=24, code_dim=8, prediction=0.8), seed=3).eval()
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(24, (length, 4), generator=generator) for length in lengths]
    p, mask = padded_one_hot(rows, 24)
    logits = 1e4 * p.where(mask[..., None, None], 0.0)
    for hard in (True, False):
        drawn = draw_codes(logits, gumbel_noise(range(len(rows)), mask, (4, 24)), 0.5, hard=hard)
        decoded = tokenizer.decode_probabilities(drawn, mask)
        for k, row in enumerate(rows):
            alone = tokenizer.decode(row[None])[0]
            torch.testing.assert_close(decoded[k, : len(alone)], alone, atol=1e-5, rtol=1e-5)


def test_the_distance_of_a_short_clip_is_that_of_it_alone(examples, tokenizer) -> None:
    """Through the whole of refinement: neither the neighbours nor their length change what is compared."""
    pair = [examples[3], examples[0]]  # 2 and 8 latent steps
    rows = [torch.from_numpy(e["tokens"]) for e in pair]
    p, mask = padded_one_hot(rows, tokenizer.config.codebook_size)
    noise = torch.zeros_like(p)
    keywords = {"temperature": 0.5, "joints_fn": features_to_joints}
    both = refinement_distances(1e4 * p, mask, noise, TrueMotion.of(pair), tokenizer, **keywords)
    for k, (example, row) in enumerate(zip(pair, rows, strict=True)):
        truth = TrueMotion.of([example])
        alone = motion_distances(tokenizer.decode(row[None]), truth, tokenizer, joints_fn=features_to_joints)
        torch.testing.assert_close(both[k : k + 1], alone, atol=1e-5, rtol=1e-4)


def test_of_a_motion_that_was_cut_only_what_was_asked_for_is_compared(examples, tokenizer) -> None:
    """The target is the first 3 of 8 steps, beside a whole motion: its first 12 frames count, and no later one."""
    pair = [examples[0], examples[1]]
    rows = [torch.from_numpy(examples[0]["tokens"][:3]), torch.from_numpy(examples[1]["tokens"])]
    p, mask = padded_one_hot(rows, tokenizer.config.codebook_size)
    both = refinement_distances(1e4 * p, mask, torch.zeros_like(p), TrueMotion.of(pair), tokenizer, temperature=0.5)
    truth = TrueMotion.of(pair[:1], 12)
    alone = motion_distances(tokenizer.decode(rows[0][None]), truth, tokenizer)
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-4)


def test_hard_samples_are_one_hot_and_follow_the_distribution() -> None:
    p = torch.tensor([0.1, 0.2, 0.7])
    logits = p.log().expand(4000, 1, 1, 3)
    noise = gumbel_noise(range(4000), torch.ones(4000, 1, dtype=torch.bool), (1, 3))
    drawn = draw_codes(logits, noise, 0.5, hard=True)
    torch.testing.assert_close(drawn.sum(-1), torch.ones(4000, 1, 1))
    assert ((drawn - drawn.round()).abs() < 1e-6).all()
    torch.testing.assert_close(drawn.mean((0, 1, 2)), p, atol=0.03, rtol=0)
    soft = draw_codes(logits, noise, 0.5, hard=False)
    assert ((soft > 0.01) & (soft < 0.99)).any()


def test_a_lower_temperature_brings_soft_samples_nearer_to_one_code() -> None:
    """softmax of (ln 3 + 0, 0) is (3/4, 1/4); at half the temperature, of (2 ln 3, 0), it is (9/10, 1/10)."""
    logits, none = torch.tensor([[[[3.0, 1.0]]]]).log(), torch.zeros(1, 1, 1, 2)
    assert draw_codes(logits, none, 1.0, hard=False).flatten().tolist() == pytest.approx([0.75, 0.25])
    assert draw_codes(logits, none, 0.5, hard=False).flatten().tolist() == pytest.approx([0.9, 0.1])


def test_a_straight_through_sample_has_the_soft_ones_gradient() -> None:
    logits = torch.tensor([[[[1.0, 0.0, -1.0]]]], requires_grad=True)
    noise, weight = torch.zeros(1, 1, 1, 3), torch.tensor([1.0, 2.0, 4.0])
    hard, soft = (
        torch.autograd.grad((draw_codes(logits, noise, 0.5, hard=kind) * weight).sum(), logits)[0]
        for kind in (True, False)
    )
    torch.testing.assert_close(hard, soft)
    assert soft.abs().sum() > 0.1


def test_noise_of_a_motion_depends_on_its_seed_alone() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    noise = gumbel_noise([7, 8], mask, (2, 5))
    assert torch.equal(noise[0, 2], torch.zeros(2, 5))
    assert torch.equal(gumbel_noise([8, 7], mask.flip(0), (2, 5))[1], noise[0])
    assert torch.equal(gumbel_noise([7], torch.ones(1, 2, dtype=torch.bool), (2, 5))[0], noise[0, :2])
    assert not torch.equal(noise[0, :2], noise[1, :2])
    many = gumbel_noise([0], torch.ones(1, 100, dtype=torch.bool), (4, 50))
    assert float(many.mean()) == pytest.approx(0.577, abs=0.03)  # Euler's constant
    assert float(many.var()) == pytest.approx(1.645, abs=0.1)  # pi^2 / 6


def test_true_motion_is_padded_marked_and_cut(examples) -> None:
    truth = TrueMotion.of([examples[3], examples[0]])  # 8 and 32 frames
    assert truth.features.shape == (2, 32, 198)
    assert truth.valid.sum((1, 2)).tolist() == [16, 64]
    np.testing.assert_array_equal(truth.features[1].numpy(), examples[0]["features"])
    np.testing.assert_array_equal(truth.features[0, :8].numpy(), examples[3]["features"])
    beginning = TrueMotion.of([examples[3], examples[0]], 12)
    assert beginning.valid.sum((1, 2)).tolist() == [16, 24]
    np.testing.assert_array_equal(beginning.features[1].numpy(), examples[0]["features"][:12])


@pytest.mark.parametrize("unseen", [0.0, float("nan")])
def test_the_loss_is_zero_at_the_truth_and_blind_to_what_is_not_seen(examples, tokenizer, unseen: float) -> None:
    truth = TrueMotion.of(examples[:2])
    decoded = truth.features.clone()
    truth.valid[:, :, 0] = False
    truth.features[..., :99] = unseen
    keywords = {"joints_fn": features_to_joints}
    assert motion_distances(decoded, truth, tokenizer, **keywords).tolist() == [0, 0]
    other_left, other_right = decoded.clone().requires_grad_(), decoded.clone()
    other_left.data[..., :99] += 1.0
    other_right[..., 99:] += 1.0
    left = motion_distances(other_left, truth, tokenizer, **keywords)
    assert left.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(left.sum(), other_left)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    assert (motion_distances(other_right, truth, tokenizer, **keywords) > 0.1).all()
    truth.valid[0] = False
    assert motion_distances(other_right, truth, tokenizer, **keywords)[0] == 0


def test_each_part_of_the_distance_is_what_its_scale_says(tokenizer) -> None:
    """Every joint stands 3 scales off and moves 2 scales a frame: smooth-L1 of 3 is 2.5, of 2 is 1.5."""
    plain = copy.deepcopy(tokenizer)
    plain.mean.zero_()
    plain.std.fill_(1.0)
    truth = TrueMotion(torch.zeros(1, 2, 198), torch.ones(1, 2, 2, dtype=torch.bool))

    def still(features: torch.Tensor) -> torch.Tensor:
        off = features.new_zeros(*features.shape[:-1], 2, 21, 3)
        return off + 3 * JOINT_SCALE if features.requires_grad else off

    def moving(features: torch.Tensor) -> torch.Tensor:
        frame = torch.arange(2.0)[None, :, None, None, None]
        off = features.new_zeros(*features.shape[:-1], 2, 21, 3)
        return off + 2 * VELOCITY_SCALE * frame if features.requires_grad else off

    decoded = torch.full((1, 2, 198), 0.1, requires_grad=True)
    features = 0.5 * 0.1**2

    def distance(joints_fn, joint: float, velocity: float) -> float:
        keywords = {"joints_fn": joints_fn, "joint_weight": joint, "velocity_weight": velocity}
        return float(motion_distances(decoded, truth, plain, **keywords).detach())

    assert distance(None, 1.0, 1.0) == pytest.approx(features)
    assert distance(still, 0.0, 0.0) == pytest.approx(features)
    assert distance(still, 1.0, 0.0) == pytest.approx(features + 2.5)
    assert distance(still, 2.0, 1.0) == pytest.approx(features + 5.0)
    assert distance(moving, 0.0, 1.0) == pytest.approx(features + 1.5)
    assert distance(moving, 0.0, 3.0) == pytest.approx(features + 4.5)


def test_a_movement_counts_where_a_hand_is_seen_before_and_after(tokenizer) -> None:
    """The hand comes into sight a scale off: that is no movement, and the pair of frames is not counted."""
    truth = TrueMotion(torch.zeros(1, 3, 198), torch.zeros(1, 3, 2, dtype=torch.bool))
    truth.valid[0, 1:, 1] = True

    def joints(features: torch.Tensor) -> torch.Tensor:
        off = features.new_zeros(*features.shape[:-1], 2, 21, 3)
        off[:, 0] = 50.0 * features.requires_grad  # in the frame that is not seen
        return off

    decoded = torch.zeros(1, 3, 198, requires_grad=True)
    keywords = {"joints_fn": joints, "joint_weight": 1.0, "velocity_weight": 1.0}
    assert motion_distances(decoded, truth, tokenizer, **keywords).tolist() == [0.0]
    truth.valid[0, 0, 1] = True
    assert float(motion_distances(decoded, truth, tokenizer, **keywords).detach()) > 100.0


def test_moving_towards_the_truth_lowers_the_loss(examples, tokenizer) -> None:
    truth = TrueMotion.of(examples[:2])
    away = torch.randn(truth.features.shape, generator=torch.Generator().manual_seed(0))
    losses = [
        float(motion_distances(truth.features + s * away, truth, tokenizer, joints_fn=features_to_joints).mean())
        for s in (0.3, 0.1, 0.03)
    ]
    assert losses == sorted(losses, reverse=True)


def test_gradient_descent_on_the_logits_lowers_the_loss(examples, tokenizer) -> None:
    """The straight-through gradient points somewhere useful: free logits learn the motion."""
    truth = TrueMotion.of(examples[:2])
    mask = torch.ones(2, 8, dtype=torch.bool)
    K = tokenizer.config.codebook_size
    logits = torch.zeros(2, 8, 4, K, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    losses = []
    for step in range(80):
        noise = gumbel_noise([2 * step, 2 * step + 1], mask, (4, K))
        loss = refinement_distances(logits, mask, noise, truth, tokenizer, temperature=0.7).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.97 * np.mean(losses[:10])


def test_the_soft_mixture_is_decoded_without_noise_at_the_temperature(examples, tokenizer) -> None:
    """What is decoded is softmax(logits / temperature) of every slot, whatever the noise."""
    truth, mask = TrueMotion.of(examples[:2]), torch.ones(2, 8, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 8, 4, tokenizer.config.codebook_size, generator=generator)
    noise = gumbel_noise([1, 2], mask, logits.shape[2:])
    soft = {"temperature": 0.5, "relaxation": "soft", "joints_fn": features_to_joints}
    found = refinement_distances(logits, mask, noise, truth, tokenizer, **soft)
    mixed = tokenizer.decode_probabilities((2.0 * logits).softmax(-1), mask)
    torch.testing.assert_close(found, motion_distances(mixed, truth, tokenizer, joints_fn=features_to_joints))
    drawn = refinement_distances(logits, mask, noise, truth, tokenizer, **{**soft, "relaxation": "gumbel"})
    assert ((drawn - found).abs() > 1e-3).all()


def test_expected_code_vectors_are_regressed_to_the_true_ones() -> None:
    """Two codes at (+-1, 0), whose variance is 1: sure and right costs 0, sure and wrong 4, to know nothing 1."""
    tokenizer = ShiftTokenizer(ShiftConfig(width=16, codebook_size=2, code_dim=2), seed=0)
    tokenizer.codebooks = lambda: torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).expand(2, 2, 2)
    first, second = np.zeros((3, 4), dtype=np.int64), np.ones((2, 4), dtype=np.int64)
    first[2] = 1  # the third step is not asked for
    clips = [{"tokens": first}, {"tokens": second}]
    mask = torch.tensor([[True, True], [True, False]])
    logits = torch.zeros(2, 2, 4, 2)
    assert code_distances(logits, mask, clips, tokenizer).tolist() == pytest.approx([1, 1])
    logits[..., 0] = 50.0
    assert code_distances(logits, mask, clips, tokenizer).tolist() == pytest.approx([0, 4])
    logits[0, 1, 3], logits[1, 1] = torch.tensor([0.0, 50.0]), -50.0
    assert code_distances(logits, mask, clips, tokenizer).tolist() == pytest.approx([4 / 8, 4])  # one code of eight
    logits = torch.zeros(2, 2, 4, 2, requires_grad=True)
    code_distances(logits, mask, clips, tokenizer).sum().backward()
    assert (logits.grad[0, ..., 0] < 0).all()
    assert (logits.grad[1, 0, ..., 0] > 0).all()
    assert not logits.grad[1, 1].any()
