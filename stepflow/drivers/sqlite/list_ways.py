"""list_ways: the ways in which the runs of a list can be found: in the order of an index, or as all members of a set.

Each way finds all runs of the list. What it costs depends on how many others it looks at, which is not known before: `lists.py`
tries each with few rows, then with more.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import Factory, frozen

from stepflow.drivers.port.queries import ListKey, RunQuery, behind_prefix
from stepflow.model.lifecycle import Status, status_sql, stored_statuses

STATUS = status_sql(
    {
        "ended": "s.status <> ''",
        "no_row": "q.id IS NULL",
        "awaits_event": "s.event <> ''",
        "owned": "q.owner <> ''",
        "paused": "(q.paused <> 0 OR s.flow IN (SELECT p.flow FROM stepflow_paused_flows AS p WHERE p.shard = s.shard))",
        "blocked": "q.blocked <> ''",
        "due": "q.due <= :now",
        "polls": "s.polls",
    },
    final="s.status",
)
ROW = "LEFT JOIN stepflow_queue AS q ON q.shard = s.shard AND q.id = s.id"
_LISTED = "FROM stepflow_states AS s INDEXED BY stepflow_states_listed"
_WAITING = _LISTED.replace("_listed", "_waiting")
_POLLING = _LISTED.replace("_listed", "_polling")
_BY_ID = "s.shard = :shard AND s.rev > 0"
_STATE = "CROSS JOIN stepflow_states AS s ON s.shard = :shard AND s.id = {}.id"
_OF_LABEL = "l.shard = :shard AND l.name = :name{0} AND l.value = :value{0}"
_HAS_LABEL = (
    "EXISTS (SELECT 1 FROM stepflow_labels AS l{0} WHERE l{0}.shard = :shard AND l{0}.id = s.id AND l{0}.name = :name{0}"
    " AND l{0}.value = :value{0})"
)
_LABELLED = f"SELECT l.id FROM stepflow_labels AS l INDEXED BY stepflow_labels_listed WHERE {_OF_LABEL}"
_PREFIXED = "SELECT id FROM stepflow_states WHERE shard = :shard AND id >= :prefix AND id < :behind"
# The partitions of rows that sleep: the plain ones, and the suspects.
_SLEEPING = (
    ("FROM stepflow_queue AS q INDEXED BY stepflow_queue_later", "q.partition = 0"),
    ("FROM stepflow_queue AS q INDEXED BY stepflow_queue_suspect", "q.partition = 2"),
)
_ASLEEP = ("q.owner = ''", "q.blocked = ''", "q.due > :now")
_GOES_TO = (
    "SELECT x.flow FROM stepflow_queue AS x INDEXED BY stepflow_queue_later WHERE x.shard = :shard AND x.owner = ''"
    " AND x.partition = 0{more} ORDER BY x.flow LIMIT 1"
)
# The recursive table `flow` of the flows (name) to which plain rows go that sleep, by leaping from one to the next.
_TO_FLOWS = (
    f"WITH RECURSIVE flow(name) AS (SELECT ({_GOES_TO.format(more='')}) UNION ALL"
    f" SELECT ({_GOES_TO.format(more=' AND x.flow > flow.name')}) FROM flow WHERE flow.name IS NOT NULL)"
)
# The flows to which sleeping runs go; suspects are few.
SLEEPING_FLOWS = (
    f"{_TO_FLOWS} SELECT name FROM flow WHERE name IS NOT NULL UNION SELECT x.flow FROM stepflow_queue AS x"
    " INDEXED BY stepflow_queue_suspect WHERE x.shard = :shard AND x.owner = '' AND x.partition = 2"
)
_IN_QUEUE = "SELECT id FROM stepflow_queue INDEXED BY stepflow_queue_{0} WHERE shard = :shard AND {1}"
_OPEN = "SELECT s.id FROM stepflow_states AS s INDEXED BY stepflow_states_{0} WHERE s.shard = :shard AND {1}"
_OF_PAUSED_FLOWS = (
    "SELECT s.id FROM stepflow_paused_flows AS p CROSS JOIN stepflow_states AS s INDEXED BY stepflow_states_listed"
    " WHERE p.shard = :shard AND s.shard = :shard AND s.flow = p.flow AND s.status = ''"
)
# Plain rows that slept, are due, and of which no claim has taken note yet.
_OVERSLEPT = (
    f"SELECT * FROM ({_TO_FLOWS} SELECT q.id FROM flow CROSS JOIN stepflow_queue AS q INDEXED BY stepflow_queue_later"
    " WHERE q.shard = :shard AND q.flow = flow.name AND q.owner = '' AND q.partition = 0 AND q.due <= :now)"
)
_OF_STATUS = {
    Status.RUNNING: (_IN_QUEUE.format("owned", "owner <> ''"),),
    Status.BLOCKED: (_IN_QUEUE.format("blocked", "blocked <> ''"),),
    Status.PAUSED: (
        _IN_QUEUE.format("paused", "paused <> 0"),
        _OF_PAUSED_FLOWS,
    ),
    Status.QUEUED: (
        _IN_QUEUE.format("next", "owner = '' AND partition = 1"),
        _IN_QUEUE.format("suspect", "owner = '' AND partition = 2"),
        _OVERSLEPT,
    ),
    Status.WAITING: (_OPEN.format("waiting", "s.event <> ''"), _OPEN.format("polling", "s.polls AND s.event = ''")),
}
"""Status -> statements with the ids of all runs that may have it, and of not many others; not of the statuses that most open runs have."""

Row = tuple[Any, ...]


@frozen
class Stream:
    """Runs that an index has in the wanted order: where they are read, by which keys, and which conditions each must meet."""

    source: str
    keys: list[str]
    terms: list[str]
    values: dict[str, Any] = Factory(dict)
    join: str = ROW
    key: str = "s.created_at, s.id"


@frozen
class ListWay:
    """Finds the runs of a list in streams, and those with the ids of the statement `members`, all of which must be looked at."""

    streams: Sequence[Stream] = ()
    members: str = ""


class SqliteSearch:
    """The parts of the statements of one list; `values` are their parameters."""

    def __init__(self, query: RunQuery, shard: str) -> None:
        self.query, self.labels = query, list((query.labels or {}).items())
        self.statuses = ", ".join(repr(group) for group in query.groups)
        behind = behind_prefix(query.prefix)
        self.values: dict[str, Any] = {
            "shard": shard,
            "now": query.now,
            "limit": query.limit,
            "flow": query.flow,
            "changed_since": query.changed_since,
            "changed_until": query.changed_until,
            "since": query.bounds[0],
            "until": query.bounds[1],
            "prefix": query.prefix,
            "behind": behind,
        }
        for number, (name, value) in enumerate(self.labels):
            self.values |= {f"name{number}": name, f"value{number}": value}
        if query.after is not None:
            self.values |= {"at": query.after[0], "after": query.after[1]}

    def key_of(self, row: Row) -> ListKey:
        """The key of a row with the columns `RUN`, and those of its queue row."""
        if self.query.order == "id":
            return 0, row[0]
        return row[10] if self.query.order == "due" else row[8], row[0]

    def ordered(self, key: str) -> str:
        """In the wanted order by the columns of a key."""
        way = "ASC" if self.query.ascending else "DESC"
        return "ORDER BY " + ", ".join(f"{name} {way}" for name in key.removeprefix("0, ").split(", "))

    def ways(self, flows: Callable[[], list[str]], to_flows: Callable[[], list[str]]) -> list[ListWay]:
        """All ways, those first that cost least where they are short; `flows` created runs, sleeping ones go to `to_flows`."""
        query, found = self.query, list[ListWay]()
        if query.order == "created":
            found += [ListWay([self._labelled(number)]) for number in range(len(self.labels))]
        else:
            found += [ListWay(members=_LABELLED.format(number)) for number in range(len(self.labels))]
        if self.values["behind"] and query.order != "id":
            found.append(ListWay(members=_PREFIXED))
        if query.order == "id":
            usual = ListWay([self._by_id()])
        elif query.order == "due":
            usual = ListWay([self._asleep(*place, flow) for place in _SLEEPING for flow in to_flows()])
        else:
            names = flows() if query.flow is None else [query.flow]
            usual = ListWay(
                [stream for flow in names for group in query.groups for stream in self._of_group(flow, group)]
            )
        return [*found, *self._of_statuses(usual), usual]

    def _of_statuses(self, usual: ListWay) -> list[ListWay]:
        """The way over all runs that may have the wanted statuses of open ones; others in the streams of the usual way."""
        query, final = self.query, [group for group in self.query.groups if group]
        parts = [part for status in query.live for part in _OF_STATUS.get(Status(status), ("",))]
        if not parts or "" in parts or (final and query.order != "created"):
            return []
        return [ListWay([stream for stream in usual.streams if stream.values.get("group")], " UNION ALL ".join(parts))]

    def member_terms(self, ids: str) -> list[str]:
        """The conditions on the runs with these ids."""
        query = self.query
        key = {"id": "0, s.id", "due": "q.due, q.id"}.get(query.order, "s.created_at, s.id")
        terms = [_BY_ID, f"s.status IN ({self.statuses})", *self._next(key), *self._created(), *self._prefixed()]
        terms += [*self._of_flow(), *self._terms(ids), *self._live("s.status <> '' OR ")]
        return [*terms, *_ASLEEP, "q.paused = 0"] if query.order == "due" else terms

    def _labelled(self, number: int) -> Stream:
        """The runs that have a label, in the order in which they were created."""
        key, few = "l.created_at, l.id", len(self.query.groups) < len(stored_statuses(None))
        terms = [*([f"s.status IN ({self.statuses})"] if few else []), *self._of_flow(), *self._prefixed("l")]
        terms += [*self._terms(_LABELLED.format(number)), *self._live("s.status <> '' OR ")]
        return Stream(
            "FROM stepflow_labels AS l INDEXED BY stepflow_labels_listed",
            [_OF_LABEL.format(number), *self._next(key), *self._created("l")],
            terms,
            join=f"{_STATE.format('l')} {ROW}",
            key=key,
        )

    def _by_id(self) -> Stream:
        """All runs by their id. No other index may be chosen for a condition on another column."""
        key = "0, s.id"
        terms = [*self._created(), *self._terms(), *self._of_flow(), *self._live("s.status <> '' OR ")]
        if len(self.query.groups) < len(stored_statuses(None)):
            terms.append(f"+s.status IN ({self.statuses})")
        return Stream("FROM stepflow_states AS s", [_BY_ID, *self._next(key), *self._prefixed()], terms, key=key)

    def _of_group(self, flow: str, group: str) -> list[Stream]:
        """The runs of one flow and status, or those of the flow that wait."""
        terms, values = [*self._prefixed(), *self._terms(), *([] if group else self._live())], {"flow": flow}
        rest = [*self._next("s.created_at, s.id"), *self._created()]
        of_flow = "s.shard = :shard AND s.flow = :flow AND"
        if self.query.awaits:
            return [Stream(_WAITING, [f"{of_flow} s.event <> ''", *rest], terms, values)]
        if group == "" and self.query.live == (Status.WAITING,):
            polling = f"{of_flow} s.polls AND s.event = ''"
            return [
                Stream(_WAITING, [f"{of_flow} s.event <> ''", *rest], terms, values),
                Stream(_POLLING, [polling, *rest], terms, values),
            ]
        return [Stream(_LISTED, [f"{of_flow} s.status = :group", *rest], terms, {**values, "group": group})]

    def _asleep(self, source: str, partition: str, flow: str) -> Stream:
        """The runs that go to one flow, sleep, and are not held back."""
        key = "q.due, q.id"
        terms = [*self._created(), *self._prefixed(), *self._terms(), *self._of_flow(), *self._live()]
        keys = ["q.shard = :shard", "q.flow = :to", *_ASLEEP, partition, *self._next(key)]
        return Stream(source, keys, terms, {"to": flow}, _STATE.format("q"), key)

    def _of_flow(self) -> list[str]:
        """By which flow it was created, and that it waits for an event."""
        found = [] if self.query.flow is None else ["+s.flow = :flow"]
        return [*found, "s.event <> ''"] if self.query.awaits else found

    def _next(self, key: str) -> list[str]:
        """That the run comes after the page before."""
        if self.query.after is None:
            return []
        sign = ">" if self.query.ascending else "<"
        return [f"s.id {sign} :after" if self.query.order == "id" else f"({key}) {sign} (:at, :after)"]

    def _created(self, table: str = "s") -> list[str]:
        """When the run was created."""
        since, until = self.query.bounds
        found = [] if since is None else [f"{table}.created_at >= :since"]
        return found + ([] if until is None else [f"{table}.created_at < :until"])

    def _prefixed(self, table: str = "s") -> list[str]:
        """With what its id begins."""
        if not self.query.prefix:
            return []
        return [f"{table}.id >= :prefix", *([f"{table}.id < :behind"] if self.values["behind"] else [])]

    def _terms(self, besides: str = "") -> list[str]:
        """When it was changed, and which labels it has, but for the one whose runs the statement `besides` gives."""
        since, until = self.query.changed_since, self.query.changed_until
        changed = [] if since is None else ["s.committed_at >= :changed_since"]
        changed += [] if until is None else ["s.committed_at < :changed_until"]
        numbers = range(len(self.labels))
        return changed + [_HAS_LABEL.format(n) for n in numbers if _LABELLED.format(n) != besides]

    def _live(self, otherwise: str = "") -> list[str]:
        """Which of the statuses of open runs it has; `otherwise` is a condition that does as well."""
        wanted = ", ".join(repr(status) for status in self.query.live)
        return [f"({otherwise}{STATUS} IN ({wanted}))"] if wanted else []
