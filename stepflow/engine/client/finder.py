"""RunFinder: reads lists of runs in pages; each call reads a bounded number of rows and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

from attrs import evolve

from stepflow.drivers.port.commit import Peer, Record
from stepflow.drivers.port.queries import HistoryQuery, ListKey, OwnerQuery, Revision, RunList, RunQuery
from stepflow.engine.client.filters import (
    SEEN_BYTES,
    Order,
    Page,
    PageCursor,
    RunFilter,
    is_indexed,
    matches,
    means_flow,
    query_of,
)
from stepflow.engine.client.info import RunInfo
from stepflow.engine.client.pauses import Pauses
from stepflow.engine.clock import Clock
from stepflow.engine.store_reader import StoreReader
from stepflow.errors import TooLarge
from stepflow.model.host import HOST, serves
from stepflow.model.lifecycle import Status
from stepflow.model.state import EMPTY

SCAN = 100_000  # rows of an index that a store looks at for a page
READ = 10_000  # records that are read for a page of a condition which stores do not test
AT_ONCE = 500  # records of one read
MAX_SIZE = 32 << 20  # characters of transitions, labels and annotations of a page
MOST_SEEN = 20_000  # runs of a list by due time
SKEW = (
    86_400_000_000  # microseconds by which a revision may be committed before an older one, by the clocks of two hosts
)


class RunFinder:
    """Pages of the runs that a filter means."""

    def __init__(self, reader: StoreReader, clock: Clock, pauses: Pauses) -> None:
        self._reader, self._clock, self._pauses = reader, clock, pauses

    async def owners(self, info: RunInfo) -> list[Peer]:
        """If the run is due or held: the owners that could advance it, or do, with what the store can tell of them."""
        if info.status not in (Status.QUEUED, Status.RUNNING):
            return []
        found: list[Peer] = await self._reader.read(OwnerQuery())
        return found

    async def dead_owners(self, records: Sequence[Record]) -> frozenset[str]:
        """The ids of the owners that died, as far as the store can tell; nothing is read if nobody holds any of these runs."""
        if not any(one.row is not None and one.row.owner for one in records):
            return frozenset()
        return frozenset(peer.owner.id for peer in await self._reader.read(OwnerQuery()) if peer.lock == "free")

    async def page(
        self, wanted: RunFilter, order: Order, ascending: bool, limit: int, cursor: PageCursor | None
    ) -> Page[Record]:
        """The runs that come next, at most `limit`."""
        if order == "updated":
            return await self._by_update(wanted, ascending, limit, cursor)
        seen = cursor.seen if cursor is not None else frozenset()
        if len(seen) > MOST_SEEN:
            raise TooLarge(
                f"a list by due time ends after {MOST_SEEN:,} runs: give a narrower filter, or order='created'"
            )
        after = None if cursor is None else cursor.key
        found, end = await self._listed(wanted, order, ascending, limit, after, seen)
        if end is None:
            return Page(found)
        if order == "due":
            seen = seen.union(_digest(record) for record in found)
        return Page(found, PageCursor(order, ascending, end, seen=seen).dump())

    async def hosts_of(self, flow: str, *, left: bool = False) -> list[str]:
        """The URLs of the hosts that are registered for a flow, or of those that were and have left; the newest first."""
        page = await self.page(RunFilter(flow=HOST, open=not left), "created", False, AT_ONCE, None)
        return [record.state.labels[HOST] for record in page if serves(record.state, flow)]

    async def _listed(
        self,
        wanted: RunFilter,
        order: Literal["created", "id", "due"],
        ascending: bool,
        limit: int,
        after: ListKey | None,
        seen: frozenset[bytes],
    ) -> tuple[list[Record], ListKey | None]:
        """The runs behind `after`, and the key at which to go on; None at the end."""
        query = query_of(wanted, self._clock.now())
        query = evolve(query, limit=min(limit + 1, AT_ONCE), order=order, ascending=ascending, after=after, scan=SCAN)
        paused = frozenset[str]() if is_indexed(wanted) else await self._pauses.names()
        found: list[Record] = []
        read = size = 0
        while True:
            page: RunList = await self._reader.read(query)
            for record in page:
                meant = means_flow(wanted, record.created.flow) if is_indexed(wanted) else matches(wanted, record, query.now, paused)  # fmt: skip
                if meant and _is_new(record, seen):
                    if len(found) == limit:
                        return found, query.key_of(found[-1])
                    found.append(record)
                size += _size(record)
            if len(page) < query.limit:
                return found, page.end
            read += len(page)
            query = evolve(query, after=query.key_of(page[-1]), limit=AT_ONCE)  # many of these were not meant
            enough = read - len(found) if is_indexed(wanted) else read
            if size > MAX_SIZE or enough >= READ:
                return found, query.after

    async def _by_update(
        self, wanted: RunFilter, ascending: bool, limit: int, cursor: PageCursor | None
    ) -> Page[Record]:
        """By revision, without those that are newer than the first page."""
        until_rev = await self._head() if cursor is None else cursor.until_rev
        rev = (0 if ascending else until_rev + 1) if cursor is None else cursor.key[0]
        found: list[Record] = []
        read = size = 0
        while True:
            since, until = (rev, until_rev) if ascending else (0, rev - 1)
            query = HistoryQuery(None, since, AT_ONCE, last=not ascending, until_rev=until, exchange=False)
            revisions: list[Revision] = await self._reader.read(query)
            for record in await self._newest(revisions if ascending else revisions[::-1], wanted):
                if len(found) == limit:
                    return Page(found, PageCursor("updated", ascending, (found[-1].state.rev, ""), until_rev).dump())
                found.append(record)
                size += _size(record)
            if len(revisions) < AT_ONCE or self._is_over(wanted, revisions, ascending):
                return Page(found)
            read += len(revisions)
            rev = revisions[-1 if ascending else 0].state.rev
            if size > MAX_SIZE or read >= READ:
                return Page(found, PageCursor("updated", ascending, (rev, ""), until_rev).dump())

    async def _head(self) -> int:
        newest: list[Revision] = await self._reader.read(HistoryQuery(limit=1, last=True, exchange=False))
        return newest[0].state.rev if newest else 0

    async def _newest(self, revisions: list[Revision], wanted: RunFilter) -> list[Record]:
        """The wanted runs of which these are the newest revisions, in the same order."""
        ids = tuple(dict.fromkeys(revision.state.id for revision in revisions))
        now, paused = self._clock.now(), await self._pauses.names()
        records = {record.state.rev: record for record in await self._reader.read(RunQuery(now, ids=ids))}
        found = [records.get(revision.state.rev) for revision in revisions]
        return [record for record in found if record is not None and matches(wanted, record, now, paused)]

    @staticmethod
    def _is_over(wanted: RunFilter, revisions: list[Revision], ascending: bool) -> bool:
        """Whether no revision behind these can be in the wanted time."""
        query = query_of(wanted, 0)
        if ascending:
            return query.changed_until is not None and revisions[-1].state.committed_at > query.changed_until + SKEW
        return query.changed_since is not None and revisions[0].state.committed_at < query.changed_since - SKEW


def _digest(record: Record) -> bytes:
    return blake2b(record.state.id.encode("utf-8", "surrogatepass"), digest_size=SEEN_BYTES).digest()


def _is_new(record: Record, seen: frozenset[bytes]) -> bool:
    return not seen or _digest(record) not in seen


def _size(record: Record) -> int:
    """The characters of what is stored of a run here, roughly."""
    state = record.state
    maps = (state.transition.annotations or EMPTY, state.labels, state.annotations)
    return sum(len(name) + len(value) for one in maps for name, value in one.items())
