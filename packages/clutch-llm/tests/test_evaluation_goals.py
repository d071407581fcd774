"""Goals: the right row, the right side of the bound, and a wrong figure is told."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from clutch_llm.evaluation import check_goals, read_goals

METRICS = {
    "tokenizer": {"hands": {"share": 0.3, "rows": {"reconstruction": {"mm": 6.0}, "truth": {"mm": 0.0}}}},
    "text_to_motion": {
        "hands": {"rows": {"truth": {"top3": 1.0}, "reconstruction": {"top3": 0.8}, "generated": {"top3": 0.6}}}
    },
    "form": {"unconstrained": None, "share": 0.4},
}


def _check(**values: Any) -> dict[str, Any]:
    (found,) = check_goals(METRICS, read_goals({"one": {"name": "a goal", **values}}))
    return found


def test_a_bound_has_a_side() -> None:
    share = {"figure": "tokenizer.share", "source": "hands"}
    assert _check(**share, at_most=0.28)["met"] is False
    assert _check(**share, at_most=0.31)["met"] is True
    assert _check(**share, at_most=0.3)["met"] is True
    assert _check(**share, at_least=0.28)["met"] is True
    assert _check(**share, at_least=0.31)["met"] is False
    assert _check(**share, at_least=3.1)["met"] is False
    assert _check(**share, at_most=3.1, kind="share") == {
        "name": "a goal",
        "source": "hands",
        "value": 0.3,
        "bound": 3.1,
        "at_most": True,
        "kind": "share",
        "met": True,
    }


def test_a_goal_reads_the_row_that_it_names_and_divides_by_the_one_it_names() -> None:
    rows = "text_to_motion.rows"
    share = {"figure": f"{rows}.generated.top3", "of": f"{rows}.reconstruction.top3", "source": "hands"}
    assert _check(**share, at_least=0.85)["value"] == pytest.approx(0.75)
    assert _check(**share, at_least=0.85)["met"] is False
    assert _check(figure=f"{rows}.truth.top3", source="hands", at_least=0.85)["value"] == 1.0
    assert _check(figure="form.share", at_least=0.3)["value"] == 0.4


def test_what_is_not_known_is_neither_met_nor_missed() -> None:
    assert _check(figure="form.unconstrained", at_least=0.3)["met"] is None
    by_zero = {"figure": "tokenizer.share", "of": "tokenizer.rows.truth.mm", "source": "hands"}
    assert _check(**by_zero, at_most=1.0)["value"] is None


def test_goals_of_what_was_not_measured_are_left_out_and_wrong_figures_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    elsewhere = {"name": "a", "figure": "tokenizer.share", "source": "feet", "at_most": 1.0}
    unmeasured = {"name": "b", "figure": "judge.rows.truth.hand", "source": "hands", "at_most": 1.0}
    assert check_goals(METRICS, read_goals({"a": elsewhere, "b": unmeasured})) == []
    with caplog.at_level(logging.WARNING):
        assert _check(figure="tokenizer.shaer", source="hands", at_most=1.0)["met"] is None
        assert _check(figure="tokenizer.rows", source="hands", at_most=1.0)["met"] is None
    assert "expected 'shaer' of 'tokenizer' for hands, got share, rows" in caplog.text
    assert "a number at 'tokenizer.rows'" in caplog.text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"figure": "a"}, "at_least or at_most"),
        ({"figure": "a", "at_least": 1.0, "at_most": 2.0}, "at_least or at_most"),
        ({"figure": "a", "at_most": 2.0, "kind": "joy"}, "got 'joy'"),
        ({"at_most": 2.0}, "without figure"),
        ({"figure": "a", "atmost": 2.0}, "unknown atmost"),
    ],
)
def test_a_goal_that_is_none_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_goals({"one": {"name": "a goal", **values}})
