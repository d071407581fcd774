from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hiw_data import HiwStore, ProceduralSource, build
from hiw_data.clips import check_clip
from hiw_data.errors import ClipError, OptionError
from hiw_data.sources.families import FAMILIES
from hiw_data.sources.phrases import FORMS, HANDLESS_FORMS, PHRASES
from hiw_data.sources.phrasing import TELLS, held_out, paraphrase, phrasings
from hiw_data.sources.procedural import held_out_phrasing

CLAP = {"family": "clap", "hand": "both", "direction": "up", "speed": "fast", "size": "large", "repetitions": 3}
UP = {"up": "up"}


def sentences(count: int = 300, **options) -> list[str]:
    rng = np.random.default_rng(0)
    return [paraphrase(CLAP, UP, rng, **options) for _ in range(count)]


def test_every_family_has_seven_phrases_of_its_own() -> None:
    assert set(PHRASES) == {family.name for family in FAMILIES}
    assert {len(phrases) for phrases in PHRASES.values()} == {7}
    for family in FAMILIES:
        assert not set(PHRASES[family.name]) & set(family.phrases)


def test_a_fifth_of_the_pairs_is_held_out_and_none_is_on_both_sides() -> None:
    forms = range(len(FORMS) + len(HANDLESS_FORMS))
    pairs = [(f, p, k) for f, phrases in PHRASES.items() for p in range(len(phrases)) for k in forms]
    assert np.mean([held_out(*pair) for pair in pairs]) == pytest.approx(0.2, abs=0.02)
    for family in PHRASES:
        for direction, hands, adverbs in itertools.product((False, True), repeat=3):
            told = {"direction": direction, "hands": hands, "adverbs": adverbs}
            seen, unseen = phrasings(family, unseen=False, **told), phrasings(family, unseen=True, **told)
            assert seen
            assert unseen
            assert not set(seen) & set(unseen)
        assert len(phrasings(family, unseen=False)) + len(phrasings(family, unseen=True)) == 7 * 15
    assert len(phrasings("draw", unseen=False, direction=False, hands=False)) == 10 - 4  # "draw in the air" alone


def test_held_out_sentences_are_never_those_of_training() -> None:
    for tells in (TELLS, ("repetitions",), ("hand",), ()):
        assert not set(sentences(typo=0.0)) & set(sentences(typo=0.0, tells=tells, unseen=True))
    assert {"clap", "clap your hands"} & set(sentences(typo=0.0, tells=()))


def test_a_sentence_says_what_it_is_to_tell() -> None:
    for text in sentences(typo=0.0, tells=TELLS):
        assert re.search("both|two hands|the left and the right hand", text)
        assert re.search("quickly|fast|rapidly|swiftly|high speed|briskly", text)
        assert re.search("large|big|broadly|wide", text)
        assert re.search("three times|3 times|thrice|3x", text)
        assert "up" in text.split() or "up," in text.split() or "up:" in text
        assert text == text.lower()
        assert not re.search(r"[\[{(]|  |,,", text)
    for text in sentences(typo=0.0, tells=("repetitions",)):
        assert re.search("three times|3 times|thrice|3x", text)
        assert not re.search(
            r"both|left|quickly|fast|rapidly|swiftly|speed|briskly|large|big|broadly|wide|\bup\b", text
        )
        assert not re.search(r"[\[{(]|  |,,|,$", text)


def test_shares_say_how_many_sentences_leave_something_out() -> None:
    def share(pattern: str, **options: float) -> float:
        return float(np.mean([bool(re.search(pattern, text)) for text in sentences(1000, typo=0.0, **options)]))

    count, direction = "three times|3 times|thrice|3x", r"\bup\b"
    hands = "with the left and the right|both hands|(your )?two hands|both of your hands|the left and the right hand"
    assert share(count, terse=0.0, open_share=0.0) == share(direction, terse=0.0, open_share=0.0) == 1.0
    assert share(count, terse=1.0, open_share=0.0) == pytest.approx(0.4, abs=0.05)
    assert share(count, terse=0.0, open_share=1.0) == pytest.approx(0.4, abs=0.05)
    assert share(direction, open_share=1.0) == pytest.approx(0.25, abs=0.05)
    assert share(hands, open_share=1.0) == pytest.approx(0.25, abs=0.05)
    assert share(rf"^(?!.*(?:{direction})).*(?:{hands})", open_share=1.0) == pytest.approx(0.25, abs=0.05)
    assert share(direction, open_share=0.3) == pytest.approx(1 - 0.3 * 0.75, abs=0.05)
    assert share(direction) == pytest.approx(1 - 0.5 * 0.75, abs=0.05)


def test_a_clips_held_out_sentence_is_its_own_and_tells_what_it_is_asked_to() -> None:
    clip = {"clip_id": "procedural/0/000004", "attributes": CLAP | {"synthetic": True}}
    assert held_out_phrasing(clip) == held_out_phrasing(clip)
    assert re.search("fast|quickly|rapidly|swiftly|high speed|briskly", str(held_out_phrasing(clip)))
    terse = [str(held_out_phrasing(clip | {"clip_id": str(k)}, ("repetitions",))) for k in range(40)]
    assert len(set(terse)) > 10
    assert not [text for text in terse if re.search(r"both|fast|large|\bup\b", text)]
    assert held_out_phrasing(clip | {"attributes": CLAP}) is None  # not of the scripted source


def test_verbs_are_inflected() -> None:
    texts = " | ".join(sentences(typo=0.0))
    assert "slapping" in texts
    assert "applauds" in texts
    assert "slaping" not in texts
    assert "striking" in texts


def test_typing_errors_change_one_place() -> None:
    for seed in range(80):
        clean, wrong = (paraphrase(CLAP, UP, np.random.default_rng(seed), typo=share) for share in (0.0, 1.0))
        differ = [k for k, pair in enumerate(zip(clean, wrong, strict=False)) if pair[0] != pair[1]]
        assert abs(len(clean) - len(wrong)) <= 1
        first = differ[0] if differ else min(len(clean), len(wrong))
        rest = clean[first:]
        swapped, dropped, doubled = rest[1::-1] + rest[2:], rest[1:], rest[:1] + rest
        assert clean[:first] == wrong[:first]
        assert wrong[first:] in {swapped, dropped, doubled, clean[first - 1] + rest, rest}


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
            assert not [text for text in b["mirrored_paraphrases"] if re.search(r"\bleft (hand|one)\b", text)]
            assert not [text for text in b["paraphrases"] if re.search(r"\bright (hand|one)\b", text)]
    build([ProceduralSource(30, seed=2, paraphrases=3)], tmp_path / "store.zarr")
    stored = {clip["clip_id"]: clip for clip in HiwStore.open(tmp_path / "store.zarr").clips()}
    assert stored[rich[4]["clip_id"]]["paraphrases"] == rich[4]["paraphrases"]
    assert stored[rich[4]["clip_id"]]["mirrored_paraphrases"] == rich[4]["mirrored_paraphrases"]


def test_what_is_no_paraphrase_is_refused() -> None:
    with pytest.raises(OptionError, match="paraphrases"):
        ProceduralSource(3, paraphrases=-1)
    clip = next(iter(ProceduralSource(3).stream(15.0)))
    with pytest.raises(ClipError, match="paraphrases"):
        check_clip({**clip, "paraphrases": ["", "wave"]})
