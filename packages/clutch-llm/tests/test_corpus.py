import numpy as np
import pytest
import torch
from clutch_llm import build_corpus
from clutch_llm.corpus import mirror_caption
from clutch_llm.errors import DataError
from hand_geometry import mirror_features


def test_each_clip_gets_the_tokens_of_its_own_length(clips, examples, tokenizer) -> None:
    for clip, example in zip(clips, examples, strict=True):
        assert example["tokens"].shape == (len(clip["features"]) // 4, 4)
        assert example["tokens"].dtype == np.int64
        alone = tokenizer.encode(torch.from_numpy(clip["features"])[None])[0]
        np.testing.assert_array_equal(example["tokens"], alone.numpy())


def test_mirror_images_follow_with_hands_and_words_swapped(clips, tokenizer) -> None:
    half = [{**clips[0], "valid": np.stack([np.ones(32, bool), np.zeros(32, bool)], 1)}]
    original, mirrored = build_corpus(half, tokenizer, mirror_fn=mirror_features)
    assert mirrored["captions"][0] == "the right hand waves"
    assert mirrored["valid"][:, 1].all()
    assert not mirrored["valid"][:, 0].any()
    assert mirrored["clip_id"] == "clip-0#mirror"
    # This tokenizer reads the left hand in a mirror, so the mirror image has the same codes on the other side.
    np.testing.assert_array_equal(mirrored["tokens"], original["tokens"][:, [2, 3, 0, 1]])


@pytest.mark.parametrize(
    ("caption", "mirrored"),
    [
        ("the left hand stirs clockwise", "the right hand stirs counterclockwise"),
        ("palm facing left, thumb right", "palm facing right, thumb left"),
        ("both hands clap", "both hands clap"),
        ("the leftover is bright", "the leftover is bright"),
    ],
)
def test_captions_are_mirrored_word_by_word(caption: str, mirrored: str) -> None:
    assert mirror_caption(caption) == mirrored
    assert mirror_caption(mirrored) == caption


def test_clips_that_cannot_be_used_are_named(clips, tokenizer) -> None:
    with pytest.raises(DataError, match="'clip-0' with at least one caption"):
        build_corpus([{**clips[0], "captions": []}], tokenizer)
    with pytest.raises(DataError, match="'clip-0' with whole latent steps of 4 frames, got 30"):
        build_corpus([{**clips[0], "features": clips[0]["features"][:30]}], tokenizer)
