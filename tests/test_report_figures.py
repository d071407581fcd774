"""What the page is made of: charts, and numbers as people read them."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from pipelines.report.charts import format_number, line_chart, nice_ticks, thin
from pipelines.report.tables import T2M_COLUMNS, duration, format_value, goal_text, metric_table, percent


def _polyline(svg: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(svg)
    (line,) = [e for e in root.iter() if e.tag == "polyline"]
    return [tuple(map(float, p.split(","))) for p in line.attrib["points"].split()]  # type: ignore[misc]


def test_a_chart_rises_where_its_values_rise() -> None:
    points = _polyline(line_chart("loss", {"run": [(0, 1.0), (10, 2.0), (20, 4.0)]}))
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[0][1] > points[1][1] > points[2][1]
    assert points[1][1] - points[2][1] == pytest.approx(2 * (points[0][1] - points[1][1]), abs=0.2)


def test_a_wide_range_is_drawn_by_its_logarithm() -> None:
    points = _polyline(line_chart("loss", {"run": [(0, 100.0), (1, 10.0), (2, 1.0)]}))
    assert points[2][1] - points[1][1] == pytest.approx(points[1][1] - points[0][1], abs=0.2)


def test_charts_escape_names_and_leave_out_what_is_not_finite() -> None:
    svg = line_chart("<b>", {'"><script>': [(0, 1.0), (1, float("nan")), (2, 3.0)]})
    assert "<script" not in svg
    assert len(_polyline(svg)) == 2
    assert line_chart("x", {"a": [(0, 1.0)]}) == ""
    assert line_chart("x", {}) == ""
    assert len(_polyline(line_chart("x", {"a": [(0, 2.0), (1, 2.0)]}))) == 2


def test_thinning_keeps_the_last_point() -> None:
    points = [(float(i), float(i)) for i in range(1000)]
    kept = thin(points, 100)
    assert len(kept) <= 102
    assert kept[-1] == points[-1]


def test_ticks_are_round_numbers_inside_the_range() -> None:
    assert nice_ticks(0.13, 0.87) == pytest.approx([0.25, 0.5, 0.75])
    assert nice_ticks(0, 1200) == [0, 500, 1000]
    assert nice_ticks(3, 3) == [3]


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (1234.0, "1,234"), (0.25, "0.25"), (0.00012, "1e-4"), (-3.14159, "-3.14")]
)
def test_axis_numbers_are_short(value: float, text: str) -> None:
    assert format_number(value) == text


def test_values_are_written_for_people() -> None:
    assert format_value(-0.0004) == "0.000"
    assert format_value(-1.25, 1) == "\N{MINUS SIGN}1.2"
    assert [format_value(v) for v in (None, float("nan"), "x", True)] == ["–"] * 4
    assert percent(0.031) == "+3.1%"
    assert [duration(s) for s in (4.24, 59, 185, 3720)] == ["4.2 s", "59 s", "3 min 05 s", "1 h 02 min"]
    goal = {"kind": "change", "value": -0.05, "bound": -0.03, "at_most": True}
    assert goal_text(goal) == {"value": "\N{MINUS SIGN}5.0%", "bound": "at most \N{MINUS SIGN}3%"}


def test_columns_without_a_value_are_left_out() -> None:
    table = metric_table("", {"truth": {"fid": 1.0}, "chance": {}}, T2M_COLUMNS)
    assert [c.key for c in table.columns] == ["fid"]
    assert [row["cells"][0]["text"] for row in table.rows] == ["1.00", "–"]
