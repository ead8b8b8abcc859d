"""turns: what a claim takes of the due runs that were found. Flows take turns, and the limits of the runs admit (laws 5 and 16)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from stepflow.drivers.port.stored import in_order
from stepflow.model.limits import LimitUsage, admission

Order = tuple[int, int, str]
"""Priority, due and id: the order of the runs of one flow."""

Candidate = tuple[Order, str, str, Any]
"""The place in the order of its flow, the flow, the text of the limits, and what the store needs to take it."""

_order = itemgetter(0)


def first(candidates: Sequence[Candidate], flows: Collection[str], limit: int) -> list[Candidate]:
    """The first `limit` of candidates without limits, in the order in which they are claimed."""
    if len(flows) < 2:
        return in_order(candidates, _order)[:limit]
    return _taken(candidates, flows, limit, lambda _one: True, {})[0]


def admitted(
    candidates: Sequence[Candidate],
    flows: Collection[str],
    usage: LimitUsage,
    now: int,
    limit: int,
    ends: Mapping[str, Order] | None = None,
) -> tuple[list[Candidate], bool]:
    """The first `limit` that may be claimed at `now`, in the order in which they are claimed; `usage` counts them.

    A flow whose first run is refused takes its turn with the next one. `ends` names the flows of which more runs may be due
    than were found, and up to which place all are known. The second value is False if such runs might have come next.
    """

    def admits(one: Candidate) -> bool:
        text = one[2]
        if text and not admission(text, usage, now).free:
            return False
        usage.takes(text, one[0][2], now)
        return True

    return _taken(candidates, flows, limit, admits, ends or {})


def _taken(
    candidates: Sequence[Candidate],
    flows: Iterable[str],
    limit: int,
    admits: Callable[[Candidate], bool],
    ends: Mapping[str, Order],
) -> tuple[list[Candidate], bool]:
    urgent: list[Candidate] = []
    rows: dict[str, list[Candidate]] = {flow: [] for flow in flows}
    for one in in_order(candidates, _order):
        end = ends.get(one[1])
        if end is None or one[0] <= end:
            (urgent if one[0][0] < 0 else rows[one[1]]).append(one)
    if urgent_ends := [end for end in ends.values() if end[0] < 0]:
        known = [one for one in urgent if one[0] <= min(urgent_ends)]
        chosen = _some(filter(admits, known), limit)
        return chosen, len(chosen) >= limit
    chosen = _some(filter(admits, urgent), limit)
    turns = {flow: filter(admits, some) for flow, some in rows.items() if some or flow in ends}
    while turns and len(chosen) < limit:
        for flow in list(turns):
            if (found := next(turns[flow], None)) is not None:
                chosen.append(found)
            elif flow in ends:
                return chosen, False
            else:
                del turns[flow]
            if len(chosen) >= limit:
                break
    return chosen, True


def _some(candidates: Iterator[Candidate], limit: int) -> list[Candidate]:
    return list(islice(candidates, limit))
