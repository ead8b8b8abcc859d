"""journals: reads what belongs to claimed runs: one read for a batch of claims; of runs that cannot be read, each is told on its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from stepflow.drivers.port.commit import Claim, Record, Release
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.store import Store
from stepflow.engine.commit.committer import Committer
from stepflow.engine.execution.attempt import unreadable_claim
from stepflow.errors import CodecError, Corrupt, NotFound, SchemaMismatch
from stepflow.model.state import DAMAGED

Rows = Sequence[JournalRow]
Begun = list[tuple[Claim, Record, Rows]]
UNREADABLE = Corrupt, SchemaMismatch, CodecError, NotFound, *DAMAGED
"""What a store raises of which a row has another form."""
log = logging.getLogger("stepflow")


async def read_journals(
    committer: Committer, store: Store, claims: Sequence[tuple[Claim, Record | None]]
) -> Mapping[str, Rows]:
    """The rows of the claimed runs that have some, by the key of the claim."""
    ids = tuple(claim.fence.id for claim, record in claims if record is not None and record.journaled)
    return dict(zip(ids, await committer.call(store.read, JournalQuery(ids)), strict=True)) if ids else {}


async def read_claims(
    committer: Committer, store: Store, claims: Sequence[Claim], now: int
) -> tuple[Begun, list[tuple[Claim, Release]]]:
    """The record and the journal of each claim; and how to release those that cannot be read, or of which there is no run."""
    try:
        return await _read(committer, store, claims), []
    except UNREADABLE:
        begun, unread = Begun(), list[tuple[Claim, Release]]()
    for claim in claims:
        try:
            begun += await _read(committer, store, [claim])
        except UNREADABLE as error:
            log.exception("run %s cannot be read", claim.fence.id, extra={"event": "blocked", "run_id": claim.fence.id})
            unread.append((claim, unreadable_claim(claim, error, now)))
    return begun, unread


async def _read(committer: Committer, store: Store, claims: Sequence[Claim]) -> Begun:
    records = [(claim, claim.record) for claim in claims]
    if None in [claim.record for claim in claims]:
        absent = [claim.fence.id for claim in claims if claim.record is None]
        loaded = dict(zip(absent, await committer.call(store.load, absent), strict=True))
        records = [(claim, claim.record or loaded[claim.fence.id]) for claim in claims]
    journals = await read_journals(committer, store, records)
    return [(claim, _there(claim, record), journals.get(claim.fence.id, ())) for claim, record in records]


def _there(claim: Claim, record: Record | None) -> Record:
    if record is None:
        raise NotFound(f"there is a row of the queue, but no run {claim.fence.id!r}")
    return record
