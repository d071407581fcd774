import numpy as np
import pytest
from code_motions import FPS, along, bumps, hand, moved, random_motion, two_hands
from hand_geometry import Claim, MotionCodes, motion_codes, parse_claim
from hand_geometry.codes import KINDS, Norm, evaluate, holds, vocabulary_claims
from hand_geometry.errors import InputError


@pytest.fixture(scope="module")
def lifting() -> MotionCodes:
    """The right hand goes up by 10 cm and back, twice in 3.2 s; the left one rests."""
    codes = motion_codes(two_hands(moved(along((0, -1, 0), 0.1 * bumps(2)))), None, FPS)
    assert isinstance(codes, MotionCodes)
    return codes


def test_every_claim_of_the_vocabulary_is_read_back_from_its_text() -> None:
    claims = list(vocabulary_claims())
    assert len(claims) == len(set(map(str, claims)))
    assert [parse_claim(str(claim)) for claim in claims] == claims
    assert {claim.kind for claim in claims} == set(KINDS)


def test_the_text_of_a_claim_is_short_and_stable() -> None:
    assert str(Claim("count", "right", "3")) == "count:right=3"
    assert str(Claim("contact", "left", "touch", "thumb+index", "start")) == "contact:left/thumb+index=touch@start"
    assert str(Claim("speed", "both", "fast", "", "1.0-2.5")) == "speed:both=fast@1.0-2.5"
    assert str(Claim("fingers", "right", "extended", "index+middle")) == "fingers:right/index+middle=extended"


@pytest.mark.parametrize(
    "text", ["", "count", "count:right", "count:right=many", "mood:right=gay", "count:third=1", "palm:left=up@noon"]
)
def test_what_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="Claim"):
        parse_claim(text)


@pytest.mark.parametrize(
    ("unseen", "text", "status"),
    [
        (0, "hands:either=moves", "fulfilled"),  # one of them does, whatever the other one did
        (0, "hands:both=moves", "not measurable"),
        (0, "hands:both=still", "contradicted"),
        (0, "palm:either=down", "fulfilled"),
        (0, "palm:either=up", "contradicted"),  # of the hand that is at work
        (1, "hands:either=moves", "not measurable"),  # the one that is seen does not; the other one may have
        (1, "hands:either=still", "fulfilled"),
        (1, "palm:either=up", "not measurable"),
        (1, "palm:both=up", "contradicted"),
        (1, "hands:one=moves", "not measurable"),
    ],
)
def test_what_can_be_told_where_one_hand_is_not_seen(unseen: int, text: str, status: str) -> None:
    """The right hand is lifted twice, the left one rests, palms down."""
    valid = np.ones((64, 2), bool)
    valid[:, unseen] = False
    codes = motion_codes(two_hands(moved(along((0, -1, 0), 0.1 * bumps(2)))), valid, FPS)
    assert isinstance(codes, MotionCodes)
    assert holds(parse_claim(text), codes) == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("hands:right=moves", "fulfilled"),
        ("hands:left=moves", "contradicted"),
        ("hands:left=still", "fulfilled"),
        ("hands:both=moves", "contradicted"),
        ("hands:either=moves", "fulfilled"),
        ("hands:one=moves", "fulfilled"),
        ("direction:right=up", "fulfilled"),
        ("direction:right=down", "contradicted"),
        ("direction:right=left", "contradicted"),
        ("direction:right=up-and-down", "fulfilled"),
        ("direction:right=side-to-side", "contradicted"),
        ("direction:left=up", "contradicted"),
        ("count:right=2", "fulfilled"),
        ("count:right=3", "contradicted"),
        ("count:either=2", "fulfilled"),
        ("shape:right=line", "fulfilled"),
        ("shape:right=circle", "contradicted"),
        ("shape:right=vertical-line", "fulfilled"),
        ("shape:right=horizontal-line", "contradicted"),
        ("circling:right=clockwise", "contradicted"),
        ("speed:right=fast", "contradicted"),
        ("palm:both=down", "fulfilled"),
        ("palm:right=up", "contradicted"),
        ("pointing:right=forward", "fulfilled"),
        ("rest:left=hold", "fulfilled"),
        ("rest:right=returns", "fulfilled"),
        ("rest:right=one-way", "contradicted"),
        ("relation:both=mirrored", "contradicted"),
        ("relation:both=right-of", "fulfilled"),
        ("relation:both=left-of", "contradicted"),
        ("order:both=left-first", "not measurable"),
        ("contact:right/thumb+index=touch", "contradicted"),
        ("contact:both/palms=apart", "fulfilled"),
        ("fingers:right/index+middle=extended", "fulfilled"),
        ("fingers:right/fingers=closed", "contradicted"),
        ("handshape:right=fist", "contradicted"),
        ("turn:right=none", "fulfilled"),
    ],
)
def test_claims_are_held_against_the_codes(lifting: MotionCodes, text: str, status: str) -> None:
    verdict = evaluate(parse_claim(text), lifting)
    assert verdict.status == status, verdict.evidence
    assert verdict.evidence


def test_a_claim_of_a_hand_that_was_not_seen_cannot_be_told() -> None:
    joints = two_hands(moved(along((0, -1, 0), 0.1 * bumps(2))))
    codes = motion_codes(joints, np.array([[False, True]] * 64), FPS)
    assert isinstance(codes, MotionCodes)
    for text in ("hands:left=moves", "palm:left=down", "relation:both=mirrored", "contact:both/palms=touch"):
        assert holds(parse_claim(text), codes) == "not measurable"
    assert holds(parse_claim("hands:right=moves"), codes) == "fulfilled"


@pytest.mark.parametrize(("right", "left", "first"), [(8, 34, "right"), (34, 8, "left")])
def test_the_hand_that_begins_is_the_one_that_moves_first(right: int, left: int, first: str) -> None:
    """One hand is lifted and comes back from frame 8 to 30, the other one from 34 to 56."""
    paths = [along((0, -1, 0), 0.1 * bumps(1, start=start, stop=start + 22)) for start in (right, left)]
    joints = two_hands(moved(paths[0]), np.repeat(hand(side="left"), 64, 0) + paths[1][:, None])
    codes = motion_codes(joints, None, FPS)
    assert isinstance(codes, MotionCodes)
    told = {
        value: holds(parse_claim(f"order:both={value}"), codes) for value in ("left-first", "right-first", "together")
    }
    assert [value for value, status in told.items() if status == "fulfilled"] == [f"{first}-first"]
    assert list(told.values()).count("contradicted") == 2


def test_a_movement_ends_where_the_hand_is_lost() -> None:
    """It is lifted twice, comes back, and is lost for two frames, after which it is seen 30 cm aside."""
    path = along((0, -1, 0), 0.1 * bumps(2, stop=30))
    path[33:] += [0.3, 0.0, 0.0]
    valid = np.ones((64, 2), bool)
    valid[31:33, 1] = False
    codes = motion_codes(two_hands(moved(path)), valid, FPS)
    assert isinstance(codes, MotionCodes)
    lifts = codes.movements[0]
    assert (lifts.count, lifts.one_way) == (2, False)
    np.testing.assert_allclose(lifts.net, 0.0, atol=0.01)


def test_fingers_are_spread_if_those_are_that_are_extended() -> None:
    """Index and middle finger are 25 degrees apart, ring and little finger in a fist: spread, and not together."""
    joints = hand("fist")
    for base, angle in ((5, 12.5), (9, -12.5)):
        way = np.array([-np.sin(np.radians(angle)), 0.0, np.cos(np.radians(angle))])
        joints[:, base + 1 : base + 4] = joints[:, base, None] + np.outer([0.04, 0.065, 0.085], way)
    still = two_hands(np.repeat(joints, 30, 0))
    codes = motion_codes(still, None, FPS)
    assert isinstance(codes, MotionCodes)
    assert evaluate(parse_claim("fingers:right/fingers=spread"), codes).status == "fulfilled"
    assert evaluate(parse_claim("fingers:right/fingers=together"), codes).status == "contradicted"
    closed = joints.copy()
    for base in (5, 9):
        closed[:, base + 1 : base + 4] = closed[:, base, None] + np.outer([0.04, 0.065, 0.085], [0.0, 0.0, 1.0])
    closed[:, 14:17] = closed[:, 13, None] + np.outer([0.01, 0.005, 0.0], [0.7, -0.7, 0.0])  # curled aside: not counted
    codes = motion_codes(two_hands(np.repeat(closed, 30, 0)), None, FPS)
    assert isinstance(codes, MotionCodes)
    assert evaluate(parse_claim("fingers:right/fingers=together"), codes).status == "fulfilled"


def test_a_claim_with_a_time_looks_there_alone(lifting: MotionCodes) -> None:
    late = motion_codes(
        two_hands(moved(along((0, -1, 0), 0.1 * bumps(1, 90, 65, 85)))), None, FPS
    )  # from 4.3 s on, of 6 s
    assert isinstance(late, MotionCodes)
    assert holds(parse_claim("hands:right=moves@end"), late) == "fulfilled"
    assert holds(parse_claim("hands:right=moves@start"), late) == "contradicted"
    assert holds(parse_claim("hands:right=still@0.0-4.0"), late) == "fulfilled"


def test_what_is_slow_depends_on_the_norm(lifting: MotionCodes) -> None:
    slow = parse_claim("speed:right=slow")
    assert holds(slow, lifting, Norm(slow_hz=1.0, fast_hz=2.0, small=1, large=2)) == "fulfilled"
    assert holds(slow, lifting, Norm(slow_hz=0.2, fast_hz=0.4, small=1, large=2)) == "contradicted"
    small = parse_claim("size:right=small")
    assert holds(small, lifting, Norm(1, 2, small=0.15, large=0.2, size_by="travel")) == "fulfilled"
    assert holds(small, lifting, Norm(1, 2, small=0.05, large=0.2, size_by="travel")) == "contradicted"


@pytest.mark.parametrize("seed", range(8))
def test_the_claims_of_codes_are_all_fulfilled_by_them(seed: int) -> None:
    codes = motion_codes(random_motion(seed), None, FPS)
    assert isinstance(codes, MotionCodes)
    claims = codes.claims()
    assert len(claims) == len(set(claims)) >= 8
    assert {holds(claim, codes) for claim in claims} == {"fulfilled"}
    assert {claim.kind for claim in claims} >= {"hands", "count", "speed", "size"}


@pytest.mark.parametrize("seed", range(4))
def test_claims_that_are_not_wanted_are_left_out_and_the_others_stay_as_they_are(seed: int) -> None:
    codes = motion_codes(random_motion(seed), None, FPS)
    assert isinstance(codes, MotionCodes)
    looked_at: list[Claim] = []

    def wanted(claim: Claim) -> bool:
        looked_at.append(claim)
        return claim.kind in ("palm", "count")

    found = codes.claims(wanted=wanted)
    assert found == [claim for claim in codes.claims() if claim.kind in ("palm", "count")]
    assert len(looked_at) == len(set(looked_at)) > len(found) > 0


def test_claims_of_each_second_say_when(lifting: MotionCodes) -> None:
    claims = lifting.claims(every=1.0)
    assert {holds(claim, lifting) for claim in claims} == {"fulfilled"}
    assert sorted({claim.when for claim in claims}) == ["0.0-1.0", "1.0-2.0", "2.0-3.0", "3.0-4.0", "4.0-4.3"]
    assert parse_claim("hands:right=moves@1.0-2.0") in claims
    assert parse_claim("hands:right=still@4.0-4.3") in claims
    with pytest.raises(InputError, match="every"):
        lifting.claims(every=0.0)


def test_the_claims_of_a_lift_say_what_it_is(lifting: MotionCodes) -> None:
    texts = {str(claim) for claim in lifting.claims()}
    assert texts >= {"hands:left=still", "hands:right=moves", "count:right=2", "direction:right=up", "shape:right=line"}
