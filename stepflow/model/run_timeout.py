"""run_timeout: the time limit of a whole run, and the label in which the run has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stepflow.model.durations import duration_text, seconds

RUN_ENDS = (
    "stepflow.run_ends"  # label: when the run ends at the latest (microseconds UTC), and its limit (microseconds)
)
_SECOND = 1_000_000
SHORTEST_S, LONGEST_S = 0.001, 36_525 * 86_400.0


class RunEnd(NamedTuple):
    """When a run ends at the latest, microseconds UTC, and its `limit` in microseconds."""

    at: int
    limit: int

    @property
    def text(self) -> str:
        """The limit as text, e.g. "2 h"."""
        return duration_text(self.limit / _SECOND)


def run_timeout_us(given: Any) -> tuple[int, str]:
    """(microseconds, "") or (0, the problem) of a `run_timeout`; None is 0: no limit."""
    if given is None:
        return 0, ""
    value, problem = seconds("run_timeout", given)
    if not problem and not SHORTEST_S <= value <= LONGEST_S:
        problem = f"run_timeout={given!r:.80}: give a millisecond to 100 years"
    return (0, problem) if problem else (round(value * _SECOND), "")


def end_of(labels: Mapping[str, str]) -> RunEnd | None:
    """When a run with these labels ends at the latest; None: it has no limit, or that cannot be read."""
    if not labels or (text := labels.get(RUN_ENDS)) is None:
        return None
    at, _blank, limit = text.partition(" ")
    return RunEnd(int(at), int(limit)) if at.isdecimal() and limit.isdecimal() else None


def with_end(labels: Mapping[str, str], limit: int, since: int) -> Mapping[str, str]:
    """The labels of a run that ends `limit` microseconds after `since`; 0: the labels as they are."""
    return {**labels, RUN_ENDS: f"{since + limit} {limit}"} if limit else labels


def renewed(labels: Mapping[str, str], now: int, *, of: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """The labels with the whole limit from now on again, if the run has one; `of`: labels that have it instead."""
    end = end_of(labels if of is None else of)
    return labels if end is None else with_end(labels, end.limit, now)
