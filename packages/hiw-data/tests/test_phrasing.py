from __future__ import annotations

import re

import numpy as np
import pytest
from hiw_data import HiwStore, ProceduralSource, build
from hiw_data.clips import check_clip
from hiw_data.errors import ClipError, OptionError
from hiw_data.sources.families import FAMILIES
from hiw_data.sources.phrasing import FORMS, PHRASES, held_out, paraphrase, phrasings

CLAP = {"family": "clap", "hand": "both", "direction": "up", "speed": "fast", "size": "large", "repetitions": 3}
UP = {"up": "up"}


def sentences(count: int = 300, **options: float) -> list[str]:
    rng = np.random.default_rng(0)
    return [paraphrase(CLAP, UP, rng, **options) for _ in range(count)]


def test_every_family_has_five_phrases_of_its_own() -> None:
    assert set(PHRASES) == {family.name for family in FAMILIES}
    assert {len(phrases) for phrases in PHRASES.values()} == {5}
    for family in FAMILIES:
        assert not set(PHRASES[family.name]) & set(family.phrases)


def test_a_fifth_of_the_pairs_is_held_out_and_none_is_on_both_sides() -> None:
    pairs = [(f, p, k) for f, phrases in PHRASES.items() for p in range(len(phrases)) for k in range(len(FORMS))]
    assert np.mean([held_out(*pair) for pair in pairs]) == pytest.approx(0.2, abs=0.02)
    for family in PHRASES:
        seen, unseen = phrasings(family, unseen=False), phrasings(family, unseen=True)
        assert seen
        assert unseen
        assert not set(seen) & set(unseen)
        assert len(seen) + len(unseen) == 75


def test_held_out_sentences_are_never_those_of_training() -> None:
    keys = {"typo": 0.0, "terse": 0.0}
    assert not set(sentences(**keys)) & set(sentences(**keys, unseen=True))


def test_a_sentence_says_hand_speed_size_and_count_unless_it_is_terse() -> None:
    for text in sentences(typo=0.0, terse=0.0):
        assert re.search("both|two hands|the left and the right hand", text)
        assert re.search("quickly|fast|rapidly|swiftly|high speed|briskly", text)
        assert re.search("large|big|broadly|wide", text)
        assert re.search("three times|3 times|thrice|3x", text)
        assert "up" in text.split() or "up," in text.split() or "up:" in text
        assert text == text.lower()
        assert "[" not in text
        assert "{" not in text
        assert "  " not in text
    assert np.mean([bool(re.search("thrice|3|three", text)) for text in sentences(typo=0.0, terse=1.0)]) < 0.6


def test_verbs_are_inflected() -> None:
    texts = " | ".join(sentences(typo=0.0))
    assert "slapping" in texts
    assert "applauds" in texts
    assert "slaping" not in texts
    assert "striking" in texts


def test_typing_errors_change_one_place() -> None:
    clean, wrong = sentences(80, typo=0.0), sentences(80, typo=1.0)
    assert len(set(wrong) - set(clean)) > 60
    assert all(abs(len(a) - len(b)) < 60 for a, b in zip(clean, wrong, strict=True))


def test_the_source_gives_paraphrases_of_clip_and_mirror_image_and_leaves_the_rest_alone(tmp_path) -> None:
    plain = [c for c in ProceduralSource(30, seed=2).stream(15.0) if isinstance(c, dict)]
    rich = [c for c in ProceduralSource(30, seed=2, paraphrases=3).stream(15.0) if isinstance(c, dict)]
    for a, b in zip(plain, rich, strict=True):
        assert a["captions"] == b["captions"]
        assert np.array_equal(a["features"], b["features"])
        assert "paraphrases" not in a
        assert len(b["paraphrases"]) == len(b["mirrored_paraphrases"]) == 3
        check_clip(b)
        if b["attributes"]["hand"] == "left":
            assert all("left" in text and "right" in image for text, image in _pairs(b))
    build([ProceduralSource(30, seed=2, paraphrases=3)], tmp_path / "store.zarr")
    stored = {clip["clip_id"]: clip for clip in HiwStore.open(tmp_path / "store.zarr").clips()}
    assert stored[rich[4]["clip_id"]]["paraphrases"] == rich[4]["paraphrases"]
    assert stored[rich[4]["clip_id"]]["mirrored_paraphrases"] == rich[4]["mirrored_paraphrases"]


def _pairs(clip) -> list[tuple[str, str]]:
    """Sentences of the clip and of its image that name their hand without a typing error."""
    pairs = zip(clip["paraphrases"], clip["mirrored_paraphrases"], strict=True)
    return [(a, b) for a, b in pairs if {"left", "right"} & set(re.findall("[a-z]+", a)) and "right" in b]


def test_what_is_no_paraphrase_is_refused() -> None:
    with pytest.raises(OptionError, match="paraphrases"):
        ProceduralSource(3, paraphrases=-1)
    clip = next(iter(ProceduralSource(3).stream(15.0)))
    with pytest.raises(ClipError, match="paraphrases"):
        check_clip({**clip, "paraphrases": ["", "wave"]})
