"""Which due rows a claim takes, and when the next one can be taken: lanes and limits together."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stepflow.drivers.rocksdb.limits import traffic
from stepflow.drivers.rocksdb.tables import Space
from stepflow.model.limits import admit, due_of, room


def choose(
    space: Space, flows: Mapping[str, str], now: int, limit: int, suspects: bool, skip: Collection[str]
) -> list[str]:
    """Keys of the rows to be taken, in claim order; they and their runs are in memory."""
    lanes = space.lanes
    found = lanes.due(flows, now, limit, suspects, skip)
    lines = [] if suspects else [(flow, text) for flow in flows for text in lanes.lines(flow, now)]
    if lines:
        seen = traffic(space, [text for _flow, text in lines], now)
        for flow, text in lines:
            if free := room(text, seen, now).free:
                found += lanes.limited(flow, text, now, min(limit, free), skip)
    found.sort()
    space.warm([key for _priority, _due, key in found])
    limits = {key: row.limits for _priority, _due, key in found if (row := space.row(key)) is not None}
    if not any(limits.values()):
        return [key for _priority, _due, key in found[:limit]]
    return admit(((one, one[2], limits[one[2]]) for one in found), traffic(space, limits.values(), now), now, limit)


def next_due(space: Space, flows: Mapping[str, str], now: int) -> int | None:
    """When a worker of these flows may take something, as far as is known now."""
    dues = [space.lanes.next_due(flows, now)]
    lines = [line for flow in flows for line in space.lanes.lines(flow, now).items()]
    if lines:
        seen = traffic(space, [text for text, _head in lines], now)
        dues += [due_of(head, text, seen, now) for text, head in lines]
    return min((due for due in dues if due is not None), default=None)
