"""Which motions and hands the pictures of the page show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines.report import RenderOptions, media

OPTIONS = RenderOptions(max_generations=2)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, Any, float]]:
    """Motions, seen hands and rate of each call that would render."""
    calls: list[tuple[Any, Any, float]] = []

    def uris(motions: Any, seen: Any, *, fps: float, options: RenderOptions) -> list[str]:
        calls.append((motions, seen, fps))
        return [f"data:{k}" for k in range(len(motions))]

    monkeypatch.setattr(media, "motion_uris", uris)
    return calls


def motion(value: float, frames: int) -> np.ndarray:
    return np.full((frames, 198), value, np.float32)


def test_generated_motion_shows_every_hand_that_the_true_one_shows_at_all(drawn: list[Any]) -> None:
    valid = np.zeros((4, 2), bool)
    valid[1:3, 0] = True  # the left hand in two frames, the right one never
    sample = {"truth": motion(0, 4), "reconstruction": motion(1, 4), "valid": valid, "fps": 30}
    sample["generations"] = [motion(2, 6), motion(3, 4), motion(4, 4)]
    panels = media._panels(sample, OPTIONS)
    assert [panel["label"] for panel in panels] == ["truth", "reconstruction", "generated 1", "generated 2"]
    ((motions, seen, fps),) = drawn
    assert fps == 30.0
    assert [float(m[0, 0]) for m in motions] == [0, 1, 2, 3]
    assert seen[0].tolist() == seen[1].tolist() == valid.tolist()
    assert [s.tolist() for s in seen[2:]] == [[[True, False]] * 6, [[True, False]] * 4]


@pytest.mark.parametrize("valid", [None, np.zeros((4, 2), bool)])
def test_where_no_hand_is_known_to_be_seen_generated_motion_shows_both(drawn: list[Any], valid: Any) -> None:
    sample = {"truth": motion(0, 4), "valid": valid, "generations": [motion(2, 4)]}
    assert [panel["label"] for panel in media._panels(sample, OPTIONS)] == ["truth", "generated"]
    ((_, seen, fps),) = drawn
    assert seen[1] is None
    assert fps == 15.0


def test_what_is_captioned_is_the_true_motion_with_its_own_hands(drawn: list[Any]) -> None:
    valid = np.array([[True, False]] * 4)
    sample = {"motion": motion(5, 4), "valid": valid, "captions": ["a", "b"], "generated": "c", "fps": 20}
    shown = media._captioned(sample, OPTIONS)
    ((motions, seen, fps),) = drawn
    assert (float(motions[0][0, 0]), fps, shown["uri"]) == (5.0, 20.0, "data:0")
    assert seen[0] is valid
    assert (shown["captions"], shown["generated"]) == (["a", "b"], "c")
