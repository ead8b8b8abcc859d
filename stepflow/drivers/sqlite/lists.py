"""lists: lists of runs, each from the runs of one flow and status, or from those that have a label.

The index has the order of both, so ended runs cost the lists of open ones nothing, and the other way round.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from attrs import define

from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.sqlite.rows import QUEUE, STATE
from stepflow.errors import NotFound
from stepflow.model.lifecycle import status_sql, stored_statuses

RUN = f"{STATE}, s.flow, s.input_hash, s.created_at"
STATUS = status_sql(
    {
        "ended": "s.status <> ''",
        "no_row": "q.id IS NULL",
        "awaits_event": "s.event <> ''",
        "owned": "q.owner <> ''",
        "blocked": "q.blocked <> ''",
        "due": "q.due <= :now",
        "polls": "s.polls",
    },
    final="s.status",
)
_FLOW = (
    "SELECT x.flow FROM stepflow_states AS x INDEXED BY stepflow_states_listed WHERE x.shard = {shard}{more}"
    " ORDER BY x.flow LIMIT 1"
)


def flows_sql(shard: str) -> str:
    """The recursive table `flow` of the flows (name) that created runs, by leaping from one to the next; `shard` is a parameter."""
    first, following = _FLOW.format(shard=shard, more=""), _FLOW.format(shard=shard, more=" AND x.flow > flow.name")
    return (
        f"WITH RECURSIVE flow(name) AS (SELECT ({first}) UNION ALL"
        f" SELECT ({following}) FROM flow WHERE flow.name IS NOT NULL)"
    )


FLOWS = f"{flows_sql('?1')} SELECT name FROM flow WHERE name IS NOT NULL"
ROW = "LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.id"
_ORDER = " ORDER BY s.created_at DESC, s.id DESC LIMIT :limit"
LISTED = (
    f"SELECT {RUN}, {QUEUE} FROM stepflow_states AS s INDEXED BY stepflow_states_listed {ROW}"
    " WHERE s.shard = :shard AND s.flow = :flow AND s.status = :group{terms}" + _ORDER
)
AWAITING = (
    f"SELECT {RUN}, {QUEUE} FROM stepflow_states AS s INDEXED BY stepflow_states_waiting {ROW}"
    " WHERE s.shard = :shard AND s.flow = :flow AND s.event <> ''{terms}" + _ORDER
)
LABELLED = "(SELECT id FROM stepflow_labels WHERE shard = :shard AND name = :name{0} AND value = :value{0})"
HAS_LABEL = (
    "EXISTS (SELECT 1 FROM stepflow_labels AS l{0} WHERE l{0}.shard = :shard AND l{0}.id = s.id AND l{0}.name = :name{0}"
    " AND l{0}.value = :value{0})"
)
OF_LABEL = (
    f"SELECT {RUN}, {QUEUE} FROM {{label}} AS l CROSS JOIN stepflow_states AS s ON s.shard = :shard AND s.id = l.id {ROW}"
    " WHERE s.shard = :shard{terms}" + _ORDER
)
FEW = 5_000  # runs with a label that are all looked at: fewer than the newest runs would have to be searched for them
MANY_HAVE = "SELECT count(*) FROM (SELECT 1 FROM stepflow_labels WHERE shard = ? AND name = ? AND value = ? LIMIT ?)"


@define
class SqliteLists:
    """The lists of one shard on one connection."""

    connection: sqlite3.Connection
    shard: str

    def runs(self, query: RunQuery) -> list[tuple[Any, ...]]:
        """The rows (columns `RUN` and `QUEUE`) that match the query, the newest created first."""
        groups = stored_statuses(query.status)
        if query.awaits or query.open:
            groups = tuple(group for group in groups if not group)
        if not groups:
            return []
        values: dict[str, Any] = {"shard": self.shard, "now": query.now, "limit": query.limit}
        terms = []
        labels = list((query.labels or {}).items())
        rare = None if query.awaits else self._rare(labels)
        for number, (name, value) in enumerate(labels):
            values |= {f"name{number}": name, f"value{number}": value}
            if number != rare:
                terms.append(HAS_LABEL.format(number))
        if query.status is not None and groups == ("",):
            terms.append(f"{STATUS} = '{query.status}'")
        if query.after is not None:
            terms.append("(s.created_at, s.id) < (:created_at, :after)")
            values |= {"after": query.after, "created_at": self._created_at(query.after)}
        if rare is not None:
            if query.flow is not None:
                terms.append("s.flow = :flow")
                values["flow"] = query.flow
            terms.append(f"s.status IN ({', '.join(repr(group) for group in groups)})")
            text = OF_LABEL.format(label=LABELLED.format(rare), terms="".join(f" AND {term}" for term in terms))
            return self.connection.execute(text, values).fetchall()
        text = (AWAITING if query.awaits else LISTED).format(terms="".join(f" AND {term}" for term in terms))
        found: list[tuple[Any, ...]] = []
        for flow in self._flows() if query.flow is None else (query.flow,):
            for group in groups:
                found += self.connection.execute(text, {**values, "flow": flow, "group": group})
        found.sort(key=lambda row: (row[8], row[0].encode("utf-8", "surrogatepass")), reverse=True)  # created_at, id
        return found[: query.limit] if query.limit >= 0 else found

    def _flows(self) -> list[str]:
        return [name for (name,) in self.connection.execute(FLOWS, (self.shard,))]

    def _rare(self, labels: Sequence[tuple[str, str]]) -> int | None:
        """The number of the label that the fewest runs have, if these are few."""
        if not labels:
            return None
        counts = [self.connection.execute(MANY_HAVE, (self.shard, *label, FEW + 1)).fetchone()[0] for label in labels]
        number = counts.index(min(counts))
        return number if counts[number] <= FEW else None

    def _created_at(self, run_id: str) -> int:
        query = "SELECT created_at FROM stepflow_states WHERE shard = ? AND id = ? AND rev > 0"
        row = self.connection.execute(query, (self.shard, run_id)).fetchone()
        if row is None:
            raise NotFound(f"after={run_id!r}: there is no such run any more; ask for the first page again")
        return int(row[0])
