"""Goals: bounds on figures, read from configuration and checked against what was measured."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clutch_llm.errors import ConfigError

logger = logging.getLogger(__name__)

Metrics = Mapping[str, Any]

KINDS = ("ratio", "times", "change", "difference", "share")


@dataclass(frozen=True)
class Goal:
    """A bound on one figure of one source.

    Attributes:
        name: what a reader is told.
        figure: where the figure stands in the metrics, names joined by points: the section, and what follows the
            source, such as ``text_to_motion.rows.generated.r_precision_top3``.
        source: the source that it is taken of; "" for a section without sources.
        of: another figure, written alike, by which it is divided; "" for none.
        at_least: lower bound.
        at_most: upper bound; one of the two is given.
        kind: how value and bound are shown: a "ratio", "times" something, a "change" or a "share" in percent, or a
            "difference".
    """

    name: str
    figure: str
    source: str = ""
    of: str = ""
    at_least: float | None = None
    at_most: float | None = None
    kind: str = "ratio"

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ConfigError(f"Expected at_least or at_most of the goal {self.name!r}, got both or none. Give one.")
        if self.kind not in KINDS:
            raise ConfigError(f"Expected kind of the goal {self.name!r} among {', '.join(KINDS)}, got {self.kind!r}.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Goal:
        """A goal from configuration.

        Raises:
            ValueError: for a name that is not a field, or one that is missing.
        """
        fields = {f.name for f in dataclasses.fields(cls)}
        unknown, missing = sorted(set(values) - fields), sorted({"name", "figure"} - set(values))
        if unknown or missing:
            raise ConfigError(
                f"Expected a goal with {', '.join(sorted(fields))}, got {dict(values)}: "
                f"{'unknown ' + ', '.join(unknown) if unknown else 'without ' + ', '.join(missing)}."
            )
        return cls(**values)


def read_goals(values: Mapping[str, Mapping[str, Any]]) -> list[Goal]:
    """Goals from configuration, in their order; the keys are for overriding one and are not shown."""
    return [Goal.from_mapping(goal) for goal in values.values()]


def check_goals(metrics: Metrics, goals: Sequence[Goal]) -> list[dict[str, Any]]:
    """Compare metrics with goals.

    Args:
        metrics: sections, each by source (what ``evaluate_*`` and ``compare_*`` return) or without sources.
        goals: what is aimed at.

    Returns:
        One dict per goal: ``name``, ``source``, ``value``, ``bound``, ``at_most`` (whether the bound is an upper one),
        ``kind`` and ``met`` (None where the value is not available; a figure that is not among those measured is told
        in a warning). A goal of a section or a source that was not measured is left out.
    """
    found = []
    for goal in goals:
        section = goal.figure.split(".")[0]
        if section not in metrics or (goal.source and goal.source not in metrics[section]):
            continue
        value = _look_up(metrics, goal.figure, goal.source)
        if goal.of:
            by = _look_up(metrics, goal.of, goal.source)
            value = value / by if value is not None and by else None
        upper = goal.at_most is not None
        bound = goal.at_most if goal.at_most is not None else goal.at_least
        assert bound is not None
        met = None if value is None else bool(value <= bound if upper else value >= bound)
        found.append(
            {
                "name": goal.name,
                "source": goal.source,
                "value": value,
                "bound": bound,
                "at_most": upper,
                "kind": goal.kind,
                "met": met,
            }
        )
    return found


def _look_up(metrics: Metrics, figure: str, source: str) -> float | None:
    section, *path = figure.split(".")
    found: Any = metrics[section][source] if source else metrics[section]
    for k, name in enumerate(path):
        if not isinstance(found, Mapping) or name not in found:
            known = ", ".join(found) if isinstance(found, Mapping) else "no names"
            where = ".".join([section, *path[:k]])
            logger.warning("A goal is not available: expected %r of %r for %s, got %s.", name, where, source, known)
            return None
        found = found[name]
    if found is not None and (isinstance(found, bool) or not isinstance(found, int | float)):
        logger.warning("A goal is not available: expected a number at %r, got %s.", figure, type(found).__name__)
        return None
    return found
