import numpy as np
import pytest
import torch
from clutch_llm import build_corpus
from clutch_llm.corpus import mirrored
from clutch_llm.errors import DataError
from shift_tokenizer import ShiftConfig, ShiftTokenizer


def test_each_clip_gets_the_tokens_of_its_own_length(clips, examples, tokenizer) -> None:
    for clip, example in zip(clips, examples, strict=True):
        assert example["tokens"].shape == (len(clip["features"]) // 4, 4)
        assert example["tokens"].dtype == np.int64
        alone = tokenizer.encode(torch.from_numpy(clip["features"])[None])[0]
        np.testing.assert_array_equal(example["tokens"], alone.numpy())


def test_mirror_images_have_hands_and_words_swapped(examples, tokenizer) -> None:
    half = {**examples[0], "valid": np.stack([np.ones(32, bool), np.zeros(32, bool)], 1)}
    image = mirrored([half], tokenizer)[0]
    assert image["captions"][0] == "the right hand waves"
    assert image["valid"][:, 1].all()
    assert not image["valid"][:, 0].any()
    assert image["clip_id"] == "clip-0#mirror"
    twice = mirrored([image], tokenizer)[0]
    np.testing.assert_allclose(twice["features"], half["features"], atol=1e-6)
    np.testing.assert_array_equal(twice["tokens"], half["tokens"])
    assert twice["captions"] == half["captions"]


def test_each_image_is_of_its_own_clip(examples, tokenizer) -> None:
    for example, image in zip(examples, mirrored(examples, tokenizer), strict=True):
        assert image["clip_id"] == f"{example['clip_id']}#mirror"
        np.testing.assert_array_equal(image["tokens"], example["tokens"][:, [2, 3, 0, 1]])
        assert image["features"].shape == example["features"].shape


@pytest.mark.parametrize("unseen", [0.0, 5.0, np.nan])
@pytest.mark.parametrize("frames", [slice(3, 9), slice(None)], ids=["some", "all"])
def test_what_stands_where_a_hand_is_not_seen_changes_no_token(clips, tokenizer, frames: slice, unseen: float) -> None:
    valid = clips[0]["valid"].copy()
    valid[frames, 0] = False
    features = clips[0]["features"].copy()
    (expected,) = build_corpus([{**clips[0], "valid": valid}], tokenizer)
    features[frames, :99] = unseen
    (example,) = build_corpus([{**clips[0], "valid": valid, "features": features}], tokenizer)
    np.testing.assert_array_equal(example["tokens"], expected["tokens"])
    images = [mirrored([e], tokenizer)[0]["tokens"] for e in (example, expected)]
    np.testing.assert_array_equal(images[0], images[1])


def test_swapping_tokens_is_what_encoding_the_mirror_image_gives(examples, tokenizer) -> None:
    for image in mirrored(examples, tokenizer):
        encoded = tokenizer.encode(torch.from_numpy(image["features"])[None])[0]
        np.testing.assert_array_equal(image["tokens"], encoded.numpy())


def test_without_a_mirrored_left_hand_motions_are_encoded_anew(examples) -> None:
    plain = ShiftTokenizer(ShiftConfig(width=16, codebook_size=24, code_dim=8, mirror_left=False)).eval()
    for image in mirrored(examples[:4], plain):
        encoded = plain.encode(torch.from_numpy(image["features"])[None])[0]
        np.testing.assert_array_equal(image["tokens"], encoded.numpy())


def test_captions_of_a_mirror_image_come_from_the_data_or_from_their_words(examples, tokenizer) -> None:
    plain = {**examples[0], "captions": ["a run up the keys", "Left, counter-clockwise"]}
    told = {**plain, "mirrored_captions": ["what the source says", "of the image"]}
    assert mirrored([plain], tokenizer)[0]["captions"] == ["a run down the keys", "Right, clockwise"]
    (image,) = mirrored([told], tokenizer)
    assert image["captions"] == ["what the source says", "of the image"]
    assert mirrored([image], tokenizer)[0]["captions"] == plain["captions"]


def test_paraphrases_of_a_mirror_image_speak_of_the_other_hand(examples, tokenizer) -> None:
    plain = {**examples[0], "paraphrases": ["wave with your left hand", "left hand up"]}
    (image,) = mirrored([plain], tokenizer)
    assert image["paraphrases"] == ["wave with your right hand", "right hand up"]
    assert mirrored([image], tokenizer)[0]["paraphrases"] == plain["paraphrases"]
    told = {**plain, "mirrored_paraphrases": ["what the source says"]}
    assert mirrored([told], tokenizer)[0]["paraphrases"] == ["what the source says"]


def test_clips_that_cannot_be_used_are_named(clips, tokenizer) -> None:
    with pytest.raises(DataError, match="'clip-0' with at least one caption"):
        build_corpus([{**clips[0], "captions": []}], tokenizer)
    with pytest.raises(DataError, match="'clip-0' with whole latent steps of 4 frames, got 30"):
        build_corpus([{**clips[0], "features": clips[0]["features"][:30]}], tokenizer)
    with pytest.raises(DataError, match=r"got 30\. Resample"):
        build_corpus([{**clips[0], "fps": 30.0}], tokenizer)
