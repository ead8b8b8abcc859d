"""diagnosis: what of the runs and pauses of a namespace may need an operator, as conditions, for `stepflow doctor` and the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepflow.drivers.port.inbox import CHANGE
from stepflow.drivers.port.queries import Condition, PostConflict
from stepflow.engine.client.pauses import PausedFlow
from stepflow.engine.clock import utc_text

MOST_CONFLICTS = 10  # that are shown


def conditions_of(
    numbers: Mapping[str, Mapping[str, int]], paused: Sequence[PausedFlow], conflicts: Sequence[PostConflict]
) -> list[Condition]:
    """What the tally, the paused flows and the conflicts of callers' transactions tell."""
    blocked = sum(statuses.get("blocked", 0) for statuses in numbers.values())
    return [
        Condition(
            "blocked runs", not blocked, f"{blocked}" + (": see stepflow list --status blocked" if blocked else "")
        ),
        Condition(
            "paused flows",
            not paused,
            ", ".join(f"{one.flow} since {utc_text(one.since)}" for one in paused) or "none",
        ),
        Condition(
            "transactions of callers",
            not conflicts,
            "; ".join(
                f"a {one.posted} of {'schedule' if one.posted == CHANGE else 'run'} {one.run_id} could not take place: {one.reason}"
                for one in conflicts
            )
            or "all that was committed took place",
        ),
    ]
