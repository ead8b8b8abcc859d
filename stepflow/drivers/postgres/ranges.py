"""ranges: where to look for the rows of a partition in the order of claims, as parameters of one form of statement."""

from __future__ import annotations

from collections.abc import Mapping

from stepflow.drivers.postgres.arrays import numbers, stored_texts, texts

SECOND = 1_000_000
LATE = SECOND  # rows that became due within this time may still appear: their commit was on its way
LOOK_EVERY = SECOND // 2  # between two looks from the beginning, by the engine's time
LOOKS = 64  # the same in looks, for a clock that stands still
MANY = 16  # priorities that are remembered
FIRST, LAST = -(2**63), 2**63 - 1

# The rows `q` of a partition behind each of the starts `m`, in the order of claims; `number` of them at most.
BEHIND = (
    "select y.* from unnest({m[0]}::bigint[], {m[1]}::bigint[], {m[2]}::text[], {m[3]}::bigint[])"
    " as m (priority, due, id, below) cross join lateral (select {columns} from stepflow.queue q where {where}"
    " and (q.priority, q.due, q.id) > (m.priority, m.due, m.id) and q.priority < m.below"
    " order by q.priority, q.due, q.id limit {number}{lock}) y limit {number}"
)
Ranges = tuple[str, str, str, str]
"""The values of BEHIND: priority, due time and id behind which each range begins, and the priority at which it ends."""
WHOLE: Ranges = (numbers([FIRST]), numbers([FIRST]), texts([""]), numbers([LAST]))


def ranges_of(marks: dict[int, tuple[int, str]]) -> Ranges:
    """The rows behind each mark up to the next priority that has one, and all of priorities before the first."""
    first = [(FIRST, FIRST, "")]
    begins = first + [(priority, *mark) for priority, mark in sorted(marks.items())]
    ends = [priority for priority, _due, _id in begins[1:]] + [LAST]
    ids = stored_texts([b[2] for b in begins])
    return numbers(b[0] for b in begins), numbers(b[1] for b in begins), ids, numbers(ends)


def joined(parts: Mapping[tuple[str, str], Ranges]) -> tuple[str, ...]:
    """The ranges of several shards and flows: array literals of shards and flows, one for each range, and those of the ranges."""
    keys = [part for part, ranges in parts.items() for _range in range(ranges[0].count(",") + 1)]
    columns = ["{" + ",".join([ranges[n][1:-1] for ranges in parts.values()]) + "}" for n in range(4)]
    return texts([shard for shard, _flow in keys]), texts([flow for _shard, flow in keys]), *columns
