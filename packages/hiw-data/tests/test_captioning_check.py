from __future__ import annotations

import numpy as np
import pytest
from hand_geometry import MotionCodes, features_to_joints, mirror_features, motion_codes
from hand_geometry.codes import evaluate
from hiw_data import ProceduralSource
from hiw_data.captioning import check, check_caption, describe_motion, parse_caption
from hiw_data.captioning.normalise import mended, normalise
from hiw_data.captioning.norms import CALIBRATION_SEED, load_norms
from hiw_data.captioning.scripted import true_claims
from hiw_data.captions import HandShape
from hiw_data.sources.families import FAMILIES
from hiw_data.sources.fingerspelling import Entry, write_captions
from hiw_data.sources.procedural import _write_captions, codes_of

SEED = 21


@pytest.fixture(scope="module")
def clips() -> list:
    return list(ProceduralSource(6 * len(FAMILIES), SEED).stream(15.0))


@pytest.fixture(scope="module")
def codes(clips: list) -> list[MotionCodes]:
    return codes_of([clip["features"] for clip in clips], 15.0)


def claims(text: str) -> set[str]:
    return {("not " if c.negated else "") + str(c.claim) for c in parse_caption(text) if c.claim and not c.implied}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The right hand waves three times.", {"hands:right=moves", "count:right=3"}),
        ("LEFT HAND slowly moves UP", {"hands:left=moves", "speed:left=slow", "direction:left=up"}),
        ("both hands clap 4 times", {"hands:both=moves", "relation:both=approach", "count:both=4"}),
        ("Each hand makes a fist", {"hands:both=moves", "fingers:both/fingers=bends"}),
        ("the right hand stirs counter-clockwise", {"hands:right=moves", "circling:right=counterclockwise"}),
        ("the right hand stirs anti clockwise", {"hands:right=moves", "circling:right=counterclockwise"}),
        ("turning a knob clockwise with the left hand", {"hands:left=moves", "turn:left=clockwise"}),
        ("thumb and index touch on the left hand", {"contact:left/thumb+index=touch"}),
        ("the right thumb touches the ring finger", {"contact:right/thumb+ring=touch"}),
        ("the thumb and the index finger do not touch", {"not contact:either/thumb+index=touch"}),
        ("the left hand does not move", {"hands:left=still"}),
        ("the right hand isn't moving", {"hands:right=still"}),
        ("the right hand never moves", {"hands:right=still"}),
        ("without moving up, the left hand waves", {"not direction:left=up", "hands:left=moves"}),
        (
            "the left hand rests while the right hand pushes forward twice",
            {"hands:left=still", "hands:right=moves", "direction:right=forward", "count:right=2"},
        ),
        ("the hand moves from side to side", {"hands:either=moves", "direction:either=side-to-side"}),
        ("one hand wipes in circles", {"hands:one=moves", "shape:one=circle"}),
        ("the left hand first moves up, then it moves down", {
            "hands:left=moves@start", "direction:left=up@start", "hands:left=moves", "direction:left=down",
        }),
        ("the palm faces down and the fingers point forward", {"palm:either=down", "pointing:either=forward"}),
        ("palms facing up", {"palm:either=up"}),
        ("index and middle fingers extended, ring and pinky curled", {
            "fingers:either/index=extended", "fingers:either/middle=extended",
            "fingers:either/ring=closed", "fingers:either/pinky=closed",
        }),
        ("both hands move in turn", {"hands:both=moves", "relation:both=alternating"}),
        ("the hands move apart", {"relation:both=part"}),
        ("the left hand is above the right hand", {"relation:both=below"}),
        ("the right hand begins, both hands wave", {"order:both=right-first", "hands:both=moves"}),
        ("a person gives a thumbs up with the right hand", {"handshape:right=thumbs-up", "hands:right=moves"}),
        ("the right hand counts up to three", {"number:right=3@end", "hands:right=moves"}),
        ("the left hand knocks repeatedly", {"hands:left=moves", "count:left=several"}),
        ("he raises his right hand", {"hands:right=moves", "direction:right/partly=up"}),
        ("the rigth hand wavse clokwise twcie", {"hands:right=moves", "circling:right=clockwise", "count:right=2"}),
        ("the left and right hands shake up and down", {"hands:both=moves", "direction:both=up-and-down"}),
        ("the left hand moves to the right", {"hands:left=moves", "direction:left=right"}),
        ("the right hand goes up and to the left", {
            "hands:right=moves", "direction:right/partly=up", "direction:right/partly=left",
        }),
        (
            "Both hands open it, turning the lid anti-clockwise with the right hand; the left hand holds it steady",
            {"hands:both=moves", "hands:right=moves", "turn:right=counterclockwise", "rest:left=hold@middle"},
        ),
        (
            "With palms facing each other, the hands move apart and then come back together.",
            {"relation:both=part", "relation:both=approach"},
        ),
        (
            "Right hand forms an OK sign: thumb and index fingertips touch, other fingers extended.",
            {"handshape:right=ok", "contact:right/thumb+index=touch", "fingers:right/fingers=extended"},
        ),
        ("Neither hand moves.", {"hands:both=still"}),
        ("The hands don't touch.", {"not contact:both/hands=touch"}),
        ("the right hand touches the left palm", {"contact:both/hands=touch"}),
        ("the right hand moves in small circles", {"size:right=small", "shape:right=circle", "hands:right=moves"}),
        ("the thumb touches each fingertip in turn", set()),
        ("the right hand moves away from the left hand", {"relation:both=part", "hands:right=moves"}),
        ("The right hand moves more quickly than the left.", {"hands:right=moves"}),
        ("with the right hand on top of the left, both hands press down", {"relation:both=above"}),
        ("both hands move together", {"relation:both=approach"}),
        ("a bowl stands on the table", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_captions_from_anywhere_are_parsed(text: str, expected: set[str]) -> None:
    assert claims(text) == expected


def test_the_captions_of_fingerspelling_are_parsed() -> None:
    shape = HandShape(
        fingers=("extended", "extended", "hooked", "curled"),
        together=False,
        crossed=False,
        thumb="touching the ring finger",
        palm="away and left",
        pointing="up",
        movement="held still",
    )
    texts = write_captions(Entry("a.pose", "ase", "L"), "left", shape.words())
    assert claims(texts[0]) == set()
    assert claims(texts[1]) == {
        "fingers:left/index=extended",
        "fingers:left/middle=extended",
        "fingers:left/ring=hooked",
        "fingers:left/pinky=closed",
        "fingers:left/fingers=spread",
        "contact:left/thumb+ring=touch",
        "palm:left/partly=forward",
        "palm:left/partly=left",
        "pointing:left=up",
        "rest:left=hold@middle",
    }
    both = f"both hands spell the letter A in Greek Sign Language: the left hand {shape.words()}; the right hand all"
    assert "fingers:right/fingers=bent" in claims(f"{both} fingers bent, palm facing down, turning")
    assert "palm:right=down" in claims(f"{both} fingers bent, palm facing down, turning")


def test_a_hand_that_is_named_alone_is_understood_to_move_alone() -> None:
    (implied,) = [c for c in parse_caption("the left hand waves") if c.implied]
    assert str(implied.claim) == "hands:left=alone"
    assert not [c for c in parse_caption("the left hand waves while the right hand rests") if c.implied]


def test_no_text_breaks_the_parser() -> None:
    rng = np.random.default_rng(0)
    letters = list("abcdefghijklmnop ,.;:-'\"<>#()[]{}\\\n\té漢🙂0123456789")
    words = [
        "the",
        "left",
        "right",
        "hand",
        "hands",
        "both",
        "waves",
        "not",
        "up",
        "down",
        "and",
        "thumb",
        "index",
        "palm",
        "twice",
        "99",
        "<up>",
        "HAND",
        "#",
    ]
    for _ in range(300):
        parse_caption("".join(rng.choice(letters, 60)))
        parse_caption(" ".join(rng.choice(words, 12)))
    assert parse_caption("wave " * 3000)


@pytest.mark.parametrize("word", ["there", "light", "paint", "form", "table", "punch", "lift", "palm"])
def test_an_english_word_is_not_taken_for_a_slip(word: str) -> None:
    assert mended(word) == word


def test_slips_are_mended() -> None:
    assert [mended(w) for w in ("rigth", "waevs", "clockwis", "quickyl", "fingrs", "upwrad")] == [
        "right", "waves", "clockwise", "quickly", "fingers", "upward",
    ]  # fmt: skip
    assert normalise("Doesn’t  MOVE—at all!") == "does not move at all"


def test_true_captions_are_seldom_contradicted_and_changed_ones_nearly_always(
    clips: list, codes: list[MotionCodes]
) -> None:
    rng = np.random.default_rng(3)
    alarms, caught = [], []
    for index, (clip, code) in enumerate(zip(clips, codes, strict=True)):
        alarms += [bool(check_caption(text, code).contradictions) for text in clip["captions"]]
        attributes = clip["attributes"]
        speed = {"slow": "fast", "medium": "slow", "fast": "slow"}[attributes["speed"]]
        family = FAMILIES[index % len(FAMILIES)]
        text = _write_captions(family, {**attributes, "speed": speed}, rng)[1]
        found = {c.claim.split(":")[0] for c in check_caption(text, code).contradictions}
        caught.append("speed" in found)
    assert np.mean(alarms) <= 0.02
    assert np.mean(caught) >= 0.95


def test_each_claim_has_a_verdict_with_evidence(clips: list, codes: list[MotionCodes]) -> None:
    index = next(
        i for i, c in enumerate(clips) if c["attributes"]["family"] == "wave" and c["attributes"]["hand"] == "left"
    )
    check = check_caption("the right hand stirs soup and does not wave", codes[index])
    moves = next(c for c in check.claims if c.claim == "hands:right=moves")
    assert moves.status == "contradicted"
    assert "still" in moves.evidence
    assert check.count("contradicted") == len(check.contradictions) >= 1
    assert check.to_dict()["claims"][0]["words"]


def test_a_denial_turns_the_verdict_round(clips: list, codes: list[MotionCodes]) -> None:
    index = next(i for i, c in enumerate(clips) if c["attributes"]["family"] == "clap")
    said = {
        c.claim: c.status
        for c in check_caption("both hands move without thumb and pinky touching", codes[index]).claims
    }
    assert said["contact:both/thumb+pinky=touch"] == "supported"


def test_an_unseen_hand_contradicts_nothing(clips: list) -> None:
    valid = np.zeros((64, 2), bool)
    code = motion_codes(features_to_joints(clips[0]["features"]), valid, 15.0)
    for text in clips[0]["captions"]:
        assert {c.status for c in check_caption(text, code).claims} == {"not measurable"}
    assert describe_motion(code).texts() == []


def test_the_scripts_truth_is_what_its_captions_claim(clips: list) -> None:
    """Two ways to the same claims: from the attributes, and from the words."""
    for clip in clips:
        wanted = {
            str(c) for name, c in true_claims(clip["attributes"]).items() if name not in ("idle", "contact", "fingers")
        }
        got = claims(clip["captions"][1])
        assert {c for c in wanted if not c.startswith("size:")} <= got, clip["captions"][1]


def test_norms_are_ordered_and_cover_every_family() -> None:
    norms = load_norms()
    assert {family.name for family in FAMILIES} <= set(norms)
    assert CALIBRATION_SEED != SEED
    for norm in norms.values():
        assert 0 < norm.slow_hz < norm.fast_hz
        assert norm.size_by == "" or 0 < norm.small < norm.large


def swapped(text: str) -> str:
    pairs = {"left": "right", "clockwise": "counterclockwise"}
    pairs |= {b: a for a, b in pairs.items()}
    return " ".join(pairs.get(w.rstrip(",;"), w.rstrip(",;")) + w[len(w.rstrip(",;")) :] for w in text.split())


def test_a_mirrored_clip_gets_the_mirrored_captions(clips: list, codes: list[MotionCodes]) -> None:
    same = []
    for clip, code in zip(clips, codes, strict=True):
        other = motion_codes(features_to_joints(mirror_features(clip["features"])), None, 15.0)
        one, two = describe_motion(code, seed=5), describe_motion(other, seed=5)
        texts = [swapped(text).replace("right and left", "left and right") for text in one.texts()]
        same.append(texts == two.texts())
    assert np.mean(same) == 1.0


def test_captions_say_only_what_was_measured_in_five_ways_each(codes: list[MotionCodes]) -> None:
    for index, code in enumerate(codes[: 2 * len(FAMILIES)]):
        captions = describe_motion(code, seed=index)
        whole = (captions.short, captions.medium, captions.long)
        assert [len(group) for group in whole] == [5, 5, 5]
        everything = [c.text for group in (*whole, captions.left, captions.right, captions.relation) for c in group]
        assert len(set(everything)) == len(everything)
        for caption in (c for group in whole for c in group):
            assert not check_caption(caption.text, code).contradictions, caption.text
            assert "[" not in caption.text
            assert ",," not in caption.text
        assert np.mean([len(c.claims) for c in captions.long]) > np.mean([len(c.claims) for c in captions.short])


def test_the_seed_draws_the_words_and_nothing_else(codes: list[MotionCodes]) -> None:
    assert describe_motion(codes[0], seed=1) == describe_motion(codes[0], seed=1)
    assert describe_motion(codes[0], seed=1).texts() != describe_motion(codes[0], seed=2).texts()


@pytest.mark.parametrize(
    ("direction", "norm"),
    [("draws a horizontal line", "draw/a horizontal line"), ("draws a circle", "draw/a circle")],
)
def test_speed_and_size_are_held_against_the_norm_of_the_direction_that_is_said(direction, norm, codes, monkeypatch):
    """A horizontal line is drawn larger than a circle: 12 spans are large for the one and not for the other."""
    norms, given = load_norms(), {}

    def watched(claim, of, norm=None):
        given[claim.kind] = norm
        return evaluate(claim, of, norm)

    monkeypatch.setattr(check, "evaluate", watched)
    check_caption(f"the right hand {direction} quickly, with large movements", codes[0])
    assert norms[norm] != norms["draw"]
    assert given["speed"] == given["size"] == norms[norm]
