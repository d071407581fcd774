import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clutch_llm.batching import SampleMaker, collate
from clutch_llm.refinement import TrueMotion, draw_codes, pad_steps, reconstruction_loss, refinement_loss
from hand_geometry import features_to_joints


def forward(clutch, examples):
    maker = SampleMaker(clutch.vocabulary)
    batch = collate([maker.make("t2m", e, np.random.default_rng(0)) for e in examples], clutch.vocabulary.layout.pad)
    return clutch.model(batch, refine=True)


@pytest.mark.parametrize("hard", [True, False])
def test_the_gradient_of_the_motion_reaches_the_language_model(clutch, examples, tokenizer, hard: bool) -> None:
    """Without cross-entropy, decoder, encoder and head get a finite, non-zero gradient."""
    out = forward(clutch, examples[:4])
    truth = TrueMotion.of(examples[:4])
    torch.manual_seed(0)
    loss = refinement_loss(
        out.slot_logits, out.step_mask, truth, tokenizer, temperature=1.0, hard=hard, joints_fn=features_to_joints
    )
    clutch.model.zero_grad()
    loss.backward()
    t5 = clutch.model.t5
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
    assert all(p.grad is None for p in tokenizer.parameters())
    clutch.model.zero_grad()


def test_certain_logits_decode_as_their_codes_do(examples, tokenizer) -> None:
    """Drawn from one-hot distributions, the refined motion is the tokenizer's own reconstruction."""
    tokens = torch.from_numpy(examples[0]["tokens"])[None]
    logits = 1e4 * F.one_hot(tokens, tokenizer.config.codebook_size).float()
    for hard in (True, False):
        drawn = draw_codes(logits, 0.5, hard=hard)
        torch.testing.assert_close(
            tokenizer.decode_probabilities(drawn), tokenizer.decode(tokens), atol=1e-5, rtol=1e-5
        )


def test_hard_samples_are_one_hot_and_follow_the_distribution() -> None:
    torch.manual_seed(0)
    p = torch.tensor([0.1, 0.2, 0.7])
    drawn = draw_codes(p.log().expand(4000, 1, 1, 3), 0.5, hard=True)
    assert torch.equal(drawn.sum(-1), torch.ones(4000, 1, 1))
    torch.testing.assert_close(drawn.mean((0, 1, 2)), p, atol=0.03, rtol=0)


def test_short_motions_repeat_their_last_step() -> None:
    p = torch.arange(6.0).reshape(2, 3, 1, 1)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert pad_steps(p, mask)[..., 0, 0].tolist() == [[0, 1, 2], [3, 3, 3]]


def test_true_motion_is_edge_padded_and_marked(examples) -> None:
    truth = TrueMotion.of([examples[3], examples[0]])  # 8 and 32 frames
    assert truth.features.shape == (2, 32, 198)
    assert truth.valid.sum((1, 2)).tolist() == [16, 64]
    assert torch.equal(truth.features[0, 31], truth.features[0, 7])


def test_the_loss_is_zero_at_the_truth_and_blind_to_what_is_not_valid(examples, tokenizer) -> None:
    truth = TrueMotion.of(examples[:2])
    truth.valid[:, :, 0] = False
    loss = reconstruction_loss(truth.features, truth, tokenizer, joints_fn=features_to_joints)
    assert loss == 0
    other_left, other_right = truth.features.clone(), truth.features.clone()
    other_left[..., :99] += 1.0
    other_right[..., 99:] += 1.0
    assert reconstruction_loss(other_left, truth, tokenizer, joints_fn=features_to_joints) == 0
    assert reconstruction_loss(other_right, truth, tokenizer, joints_fn=features_to_joints) > 0.1


def test_moving_towards_the_truth_lowers_the_loss(examples, tokenizer) -> None:
    truth = TrueMotion.of(examples[:2])
    away = torch.randn(truth.features.shape, generator=torch.Generator().manual_seed(0))
    losses = [
        float(reconstruction_loss(truth.features + s * away, truth, tokenizer, joints_fn=features_to_joints))
        for s in (0.3, 0.1, 0.03)
    ]
    assert losses == sorted(losses, reverse=True)


def test_gradient_descent_on_the_logits_lowers_the_loss(examples, tokenizer) -> None:
    """The straight-through gradient points somewhere useful: free logits learn the motion."""
    truth = TrueMotion.of(examples[:2])
    mask = torch.ones(2, 8, dtype=torch.bool)
    logits = torch.zeros(2, 8, 4, tokenizer.config.codebook_size, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.2)
    torch.manual_seed(0)
    losses = []
    for _ in range(80):
        loss = refinement_loss(logits, mask, truth, tokenizer, temperature=0.7)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.97 * np.mean(losses[:10])


def test_short_motions_count_like_long_ones(clutch, examples) -> None:
    """The loss of several motions is the mean of the losses of each alone."""
    pair = [examples[3], examples[0]]
    assert len(pair[0]["features"]) < len(pair[1]["features"])
    truth = TrueMotion.of(pair)
    off = truth.features + 0.1 * torch.randn(truth.features.shape, generator=torch.Generator().manual_seed(0))
    alone = []
    for k, example in enumerate(pair):
        frames = len(example["features"])
        own = TrueMotion(truth.features[k : k + 1, :frames], truth.valid[k : k + 1, :frames])
        alone.append(reconstruction_loss(off[k : k + 1, :frames], own, clutch.tokenizer, joints_fn=features_to_joints))
    both = reconstruction_loss(off, truth, clutch.tokenizer, joints_fn=features_to_joints)
    torch.testing.assert_close(both, torch.stack(alone).mean(), atol=1e-5, rtol=1e-4)
