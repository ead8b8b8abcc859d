"""list_ways: the ways in which the runs of a list can be found in one shard: in the order of an index, or as all members of a set.

Each way finds all runs of the list. What it costs depends on how many others it looks at, which is not known before: `lists.py`
tries each with few rows, then with more.
"""

# ruff: noqa: S608 - the texts are put together from constants of this package, never from values

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve

from stepflow.drivers.port.queries import ListKey, RunQuery, behind_prefix
from stepflow.drivers.postgres.arrays import stored, texts
from stepflow.drivers.postgres.lookup import found
from stepflow.drivers.postgres.rows import CREATED, QUEUE, STATE, label_key
from stepflow.drivers.postgres.transactions import Statement
from stepflow.model.lifecycle import Status, status_sql, stored_statuses

STATUS = status_sql(
    {
        "ended": "s.status <> ''",
        "no_row": "q.id is null",
        "awaits_event": "s.waiting like 'event:_%'",
        "owned": "q.owner <> ''",
        "paused": "(q.paused or s.flow in (select p.flow from stepflow.paused_flows p where p.shard = $2))",
        "blocked": "q.blocked <> ''",
        "due": "q.due <= $1",
        "polls": "s.waiting not in ('', 'delay')",
    },
    final="s.status",
)
ROW = found("queue", "x.shard = $2 and x.id = s.id", "x.*")
_OF_RUN = found("states", "x.shard = $2 and x.id = {}.id", "x.*")
_FLOW = "select x.flow from stepflow.states x where x.shard = $2 and x.delay is null{more} order by x.flow desc limit 1"
# The flows that created runs, by leaping from one to the next; backwards, as the index has the ended runs of a flow behind the open ones: while
# another transaction keeps a snapshot, an entry of an open run stays for each that ended.
FLOWS = (
    f"with recursive flow (name) as ((select ({_FLOW.format(more='')})) union all"
    f" select ({_FLOW.format(more=' and x.flow < flow.name')}) from flow where flow.name is not null)"
)
_TO = "select x.flow from stepflow.queue x where x.shard = $2 and x.partition = 0{more} order by x.flow desc limit 1"
# The flows to which sleeping runs go.
_SLEEPING_FLOWS = (
    f"with recursive flow (name) as ((select ({_TO.format(more='')})) union all"
    f" select ({_TO.format(more=' and x.flow < flow.name')}) from flow where flow.name is not null)"
)
_SUSPECTS = "(select x.* from stepflow.queue x where x.shard = $2 and x.partition = 2 order by x.flow, x.priority, x.due, x.id) q"
_PLACE = "<the place of the queue row>"  # in the text of a statement, until its index is chosen
_GIVEN = "$1::bigint is not null and $3::bigint is not null and $4::text[] is not null"
COLUMNS = f"{STATE}, {CREATED}, {QUEUE}"
_OF_GROUP = "unnest($4::text[]) as u (status) cross join lateral"
_EVENT = "s.waiting like 'event:_%'"
_POLLING = "s.waiting not in ('', 'delay') and s.waiting not like 'event:_%'"
_LABELLED_IDS = "select id from stepflow.labels where shard = $2 and label = {} order by created_at, id"
_PREFIXED_IDS = "select x.id from stepflow.states x where x.shard = $2 and x.id >= {} and x.id < {} and x.delay is null order by x.id"
# No `exists`: the planner may make a join of it that begins with all runs that have the label.
_HAS_LABEL = (
    "(select 1 from stepflow.labels l where l.shard = $2 and l.label = {} and l.created_at = s.created_at and l.id = s.id)"
    " is not null"
)
_IN_QUEUE = "(select id from stepflow.queue where shard = $2 and partition = {} order by {})"
_BY_TURN = "flow, priority, due, id"
_OPEN = "(select s.id from stepflow.states s where s.shard = $2 and {} order by s.flow, s.created_at, s.id)"
_OF_PAUSED_FLOWS = (
    "(select o.id from stepflow.paused_flows p cross join lateral (select x.id from stepflow.states x where x.shard = $2"
    " and x.flow = p.flow and x.status = '' and x.delay is null order by x.created_at, x.id) o where p.shard = $2)"
)
# Rows that slept, are due, and of which no claim has taken note yet.
_OVERSLEPT = (
    f"(select o.id from ({_SLEEPING_FLOWS} select name from flow where name is not null) f cross join lateral"
    " (select x.id from stepflow.queue x where x.shard = $2 and x.flow = f.name and x.partition = 0 and x.due <= $1"
    " order by x.due) o)"
)
_SPECIAL = _IN_QUEUE.format(2, _BY_TURN)  # blocked rows and suspects
_OF_STATUS = {
    Status.RUNNING: (_IN_QUEUE.format(3, "owner"),),
    Status.BLOCKED: (_SPECIAL,),
    Status.PAUSED: (_IN_QUEUE.format(5, "id"), _OF_PAUSED_FLOWS),
    Status.QUEUED: (_IN_QUEUE.format(1, _BY_TURN), _IN_QUEUE.format(4, _BY_TURN), _SPECIAL, _OVERSLEPT),
    Status.WAITING: (_OPEN.format(_EVENT), _OPEN.format(_POLLING)),
}
"""Status -> statements with the ids of all runs that may have it, and of not many others; not of the statuses that most open runs have."""


class ListPart(ABC):
    """The statements of a part of a list. $1 now, $2 shard, $3 limit, $4 statuses (empty while a run is open)."""

    key: tuple[str, ...]

    def __init__(self, query: RunQuery, shard: str) -> None:
        self.query = query
        self.values: list[object] = [query.now, shard, query.limit, texts(query.groups)]

    def count(self, _most: int) -> Statement | None:
        """The statement that counts what this part must look at, up to one more than `most`; None: it can read some in order."""
        return None

    def edges(self, _scan: int) -> list[Statement]:
        """The statements that read the key of the run behind the first `scan` of each index; none if no run must meet conditions."""
        return []

    def pages(self, end: ListKey | None) -> list[Statement]:
        """The statements that read the page up to `end`."""
        before, keys = len(self.values), [_GIVEN]
        if end is not None:
            keys.append(self._bounded(end, "<=" if self.query.ascending else ">="))
        found = self._selected(keys)
        values, self.values = tuple(self.values), self.values[:before]
        return [(text, values) for text in found]

    @abstractmethod
    def _selected(self, keys: Sequence[str]) -> list[str]:
        """The statements that select its runs, which also meet the conditions `keys`."""

    def _next(self) -> list[str]:
        """That the run comes after the page before."""
        query = self.query
        return [] if query.after is None else [self._bounded(query.after, ">" if query.ascending else "<")]

    def _terms(self, besides: str = "") -> list[str]:
        """When it was changed, which labels it has but for `besides`, and which of the statuses of open runs."""
        query = self.query
        labels = [stored(label_key(*item)) for item in (query.labels or {}).items()]
        found = [_HAS_LABEL.format(self._add(label)) for label in labels if label != besides]
        if query.changed_since is not None:
            found.append(f"s.committed_at >= {self._add(query.changed_since)}::bigint")
        if query.changed_until is not None:
            found.append(f"s.committed_at < {self._add(query.changed_until)}::bigint")
        if query.live:
            wanted = ", ".join(repr(status) for status in query.live)
            found.append(f"(s.status <> '' or {STATUS} in ({wanted}))")
        return found

    def _of_groups(self) -> list[str]:
        """Which status is stored for it, and that it waits for an event."""
        few = len(self.query.groups) < len(stored_statuses(None))
        found = ["s.status = any($4::text[])"] if few else []
        return [*found, _EVENT] if self.query.awaits else found

    def _flow(self) -> list[str]:
        return [] if self.query.flow is None else [f"s.flow = {self._add(stored(self.query.flow))}"]

    def _created(self, table: str = "s") -> list[str]:
        """When the run was created."""
        since, until = self.query.bounds
        found = [] if since is None else [f"{table}.created_at >= {self._add(since)}::bigint"]
        return found + ([] if until is None else [f"{table}.created_at < {self._add(until)}::bigint"])

    def _prefixed(self, table: str = "s") -> list[str]:
        """With what its id begins."""
        prefix = self.query.prefix
        if not prefix:
            return []
        behind = behind_prefix(prefix)
        found = [f"{table}.id >= {self._add(stored(prefix))}"]
        return found if behind is None else [*found, f"{table}.id < {self._add(stored(behind))}"]

    def _bounded(self, key: ListKey, sign: str) -> str:
        """That the key of a run is on this side of another one."""
        numbers = [self._add(part) for part in (key[0], stored(key[1]))[-len(self.key) :]]
        return f"({', '.join(self.key)}) {sign} ({', '.join(numbers)})"

    def _ordered(self, columns: Sequence[str]) -> str:
        return ", ".join(f"{name}{'' if self.query.ascending else ' desc'}" for name in columns)

    def _add(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


class Members(ListPart):
    """The runs with the ids that statements give, all of which must be looked at; `places` are the values of these texts."""

    def __init__(self, query: RunQuery, shard: str, ids: Sequence[str], *places: str) -> None:
        super().__init__(query, shard)
        self.key = {"id": ("s.id",), "due": ("q.due", "q.id")}.get(query.order, ("s.created_at", "s.id"))
        self.ids, self.places = ids, places

    def count(self, most: int) -> Statement:
        """The statement that counts the ids, up to one more than `most`."""
        values: list[object] = [self.query.now, self.values[1], most + 1, *self.places]
        ids = " union all ".join(f"({one})" for one in self._ids(4))
        given = "$1::bigint is not null"
        return f"select count(*) from (select 1 from ({ids}) l where {given} limit $3) l", tuple(values)

    def _ids(self, first: int) -> list[str]:
        return [one.format(*[f"${first + n}" for n in range(len(self.places))]) for one in self.ids]

    def _selected(self, keys: Sequence[str]) -> list[str]:
        ids = " union ".join(f"({one})" for one in self._ids(len(self.values) + 1))
        for place in self.places:
            self._add(place)
        besides = self.places[0] if self.ids == (_LABELLED_IDS,) else ""
        terms = [*keys, "s.delay is null", "s.status = any($4::text[])", *self._next(), *self._created()]
        terms += [*self._prefixed(), *self._flow(), *self._terms(besides)]
        if self.query.awaits:
            terms.append(_EVENT)
        if self.query.order == "due":
            terms += ["q.due > $1", "q.partition in (0, 2)", "q.blocked = ''"]
        source = f"({ids} offset 0) l cross join {_OF_RUN.format('l')} s left join {ROW} q on true"
        order = self._ordered(self.key)
        return [f"select {COLUMNS} from {source} where {' and '.join(terms)} order by {order} limit $3"]


class Ordered(ListPart):
    """Runs that an index has in the wanted order: `keys` are conditions that its columns meet, `terms` those that each run is tested for."""

    def __init__(self, query: RunQuery, shard: str) -> None:
        super().__init__(query, shard)
        self.keys = self._keys()
        self.given = len(self.values)  # by the keys alone
        self.terms = self._tests()

    def edges(self, scan: int) -> list[Statement]:
        """The statements that read the key of the run behind the first `scan` of each index; none if no run must meet conditions."""
        if not self.terms:
            return []
        number = f"${self.given + 1}::bigint"
        columns = ", ".join(("0", *self.key)[-2:])
        found = self._searched(columns, "", [*self.keys, _GIVEN], f" offset {number}")
        return [(text, (*self.values[: self.given], scan)) for text in found]

    @abstractmethod
    def _keys(self) -> list[str]:
        """The conditions that the columns of the index meet."""

    @abstractmethod
    def _tests(self) -> list[str]:
        """The conditions that each run is tested for."""

    @abstractmethod
    def _searched(self, columns: str, join: str, terms: Sequence[str], offset: str) -> list[str]:
        """The statements that select these columns of the runs that meet `terms`, in order; one run behind an offset."""


class Labelled(Ordered):
    """The runs that have a label, in the order in which they were created."""

    key = ("l.created_at", "l.id")

    def __init__(self, query: RunQuery, shard: str, label: str) -> None:
        self.label = label
        super().__init__(query, shard)

    def _keys(self) -> list[str]:
        label = self._add(self.label)
        return ["l.shard = $2", f"l.label = {label}", *self._next(), *self._created("l"), *self._prefixed("l")]

    def _tests(self) -> list[str]:
        return [*self._of_groups(), *self._flow(), *self._terms(self.label)]

    def _selected(self, keys: Sequence[str]) -> list[str]:
        join = f"cross join {_OF_RUN.format('l')} s left join {ROW} q on true"
        return self._searched(COLUMNS, join, [*self.keys, *self.terms, *keys], "")

    def _searched(self, columns: str, join: str, terms: Sequence[str], offset: str) -> list[str]:
        most = f"limit 1{offset}" if offset else "limit $3"
        order = self._ordered(self.key)
        return [f"select {columns} from stepflow.labels l {join} where {' and '.join(terms)} order by {order} {most}"]


class ById(Ordered):
    """All runs by their id."""

    key = ("s.id",)

    def _keys(self) -> list[str]:
        return ["s.shard = $2", "s.delay is null", "s.rev > 0", *self._next(), *self._prefixed()]

    def _tests(self) -> list[str]:
        return [*self._terms(), *self._created(), *self._flow(), *self._of_groups()]

    def _selected(self, keys: Sequence[str]) -> list[str]:
        return self._searched(COLUMNS, f"left join {ROW} q on true", [*self.keys, *self.terms, *keys], "")

    def _searched(self, columns: str, join: str, terms: Sequence[str], offset: str) -> list[str]:
        most = f"limit 1{offset}" if offset else "limit $3"
        order = self._ordered(self.key)
        return [f"select {columns} from stepflow.states s {join} where {' and '.join(terms)} order by {order} {most}"]


class ByGroup(Ordered):
    """The runs of each flow and stored status, or those of each flow that wait."""

    key = ("s.created_at", "s.id")

    def _keys(self) -> list[str]:
        flow = ["s.flow = flow.name"] if self.query.flow is None else self._flow()
        return ["s.shard = $2", "s.delay is null", *flow, *self._next(), *self._created()]

    def _tests(self) -> list[str]:
        return [*self._terms(), *self._prefixed()]

    def _selected(self, keys: Sequence[str]) -> list[str]:
        return self._searched(COLUMNS, f"left join {ROW} q on true", [*self.keys, *self.terms, *keys], "")

    def _searched(self, columns: str, join: str, terms: Sequence[str], offset: str) -> list[str]:
        query, most = self.query, f"limit 1{offset}" if offset else "limit $3"
        waits = query.groups == ("",) and query.live == (Status.WAITING,)
        indexes = (_EVENT,) if query.awaits else (_EVENT, _POLLING) if waits else ("s.status = u.status",)
        spread = "" if query.awaits or waits else _OF_GROUP
        outer = f"order by {self._ordered(('r.created_at', 'r.id'))} {'limit 1' if offset else 'limit $3'}"
        if spread and "" in query.groups and len(query.groups) > 1:
            return [self._newer_open(columns, join, terms, most)]
        texts = list[str]()
        for index in indexes:
            inner = (
                f"select {columns} from stepflow.states s {join} where {' and '.join([index, *terms])}"
                f" order by {self._ordered(self.key)} {most}"
            )
            if query.flow is None:
                lateral = spread or "lateral"
                texts.append(
                    f"{FLOWS} select r.* from flow cross join {lateral} ({inner}) r where flow.name is not null {outer}"
                )
            else:
                texts.append(f"select r.* from {spread} ({inner}) r {outer}" if spread else inner)
        return texts

    def _newer_open(self, columns: str, join: str, terms: Sequence[str], most: str) -> str:
        """The ended runs first, then those of the open ones that come before the last of them, if they are enough.

        So this reads few of the entries that runs which ended left among those of open ones.
        """
        number = "1" if "offset" in most else "$3"
        sign, least = ("<", 2**63 - 1) if self.query.ascending else (">", -(2**63))
        order, own = self._ordered(("r.created_at", "r.id")), self._ordered(self.key)
        flows, flow, some = (f"{FLOWS},", "flow cross join", "where flow.name is not null")
        if self.query.flow is not None:
            flows, flow, some = "with", "", ""

        def found(given: str, *more: str) -> str:
            where = " and ".join([*more, *terms])
            inner = f"select {columns} from stepflow.states s {join} where {where} order by {own} {most}"
            return f"select r.* from {flow} {given} cross join lateral ({inner}) r {some}"

        groups = "(select g.status from unnest($4::text[]) as g (status) where g.status <> '') u"
        last = f"(select r.{{}} from ended r order by {order} offset {number} - 1 limit 1)"
        edge = (
            f"(select coalesce({last.format('created_at')}, {least}) as at, coalesce({last.format('id')}, '') as id) e"
        )
        behind = f"({', '.join(self.key)}) {sign} (e.at, e.id)"
        ended, still_open = found(groups, "s.status = u.status"), found(edge, "s.status = ''", behind)
        return (
            f"{flows} ended as materialized ({ended} order by {order} limit {number})"
            f" select r.* from (select * from ended union all {still_open}) r order by {order} limit {number}"
        )


class Asleep(Ordered):
    """The runs that sleep and are not held back, by due time."""

    key = ("q.due", "q.id")

    def _keys(self) -> list[str]:
        return ["q.shard = $2", _PLACE, "q.due > $1", "q.blocked = ''", *self._next()]

    def _tests(self) -> list[str]:
        return [*self._terms(), *self._prefixed(), *self._created(), *self._flow(), *self._of_groups()[1:]]

    def _selected(self, keys: Sequence[str]) -> list[str]:
        join = f"cross join {found('states', 'x.shard = $2 and x.id = q.id and x.delay is null', 'x.*')} s"
        return self._searched(COLUMNS, join, [*self.keys, *self.terms, *keys], "")

    def _searched(self, columns: str, join: str, terms: Sequence[str], offset: str) -> list[str]:
        most = f"limit 1{offset}" if offset else "limit $3"
        inner = f"select {columns} from {{source}} {join} where {' and '.join(terms)} order by {self._ordered(self.key)} {most}"
        outer = f"order by {self._ordered(('r.due', 'r.id'))} {'limit 1' if offset else 'limit $3'}"
        later = inner.format(source="stepflow.queue q").replace(_PLACE, "q.flow = flow.name and q.partition = 0")
        return [
            f"{_SLEEPING_FLOWS} select r.* from flow cross join lateral ({later}) r where flow.name is not null {outer}",
            inner.format(source=_SUSPECTS).replace(_PLACE, "true"),
        ]


def ways_of(query: RunQuery, shard: str) -> list[list[ListPart]]:
    """All ways in one shard, those first that cost least where they are short; the same for each shard of a namespace."""
    labels = [stored(label_key(*item)) for item in (query.labels or {}).items()]
    if query.order == "created":
        ways: list[list[ListPart]] = [[Labelled(query, shard, label)] for label in labels]
    else:
        ways = [[Members(query, shard, (_LABELLED_IDS,), label)] for label in labels]
    if (behind := behind_prefix(query.prefix)) is not None and query.order != "id":
        ways.append([Members(query, shard, (_PREFIXED_IDS,), stored(query.prefix), stored(behind))])
    usual: Mapping[str, Callable[[RunQuery, str], ListPart]] = {"created": ByGroup, "id": ById, "due": Asleep}
    return [*ways, *_of_statuses(query, shard), [usual[query.order](query, shard)]]


def _of_statuses(query: RunQuery, shard: str) -> list[list[ListPart]]:
    """The way over all runs that may have the wanted statuses of open ones; those that ended by their status."""
    parts = [part for status in query.live for part in _OF_STATUS.get(Status(status), ("",))]
    final = tuple(group for group in query.groups if group)
    if not parts or "" in parts or (final and query.order != "created"):
        return []
    ended: list[ListPart] = [ByGroup(evolve(query, status=final), shard)] if final else []
    return [[Members(evolve(query, status=query.live), shard, tuple(dict.fromkeys(parts))), *ended]]
