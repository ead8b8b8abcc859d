"""journals: reads what belongs to claimed runs: one read for a batch of claims; of runs that cannot be read, each is told on its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from stepflow.drivers.port.commit import Claim, Record
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
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
    committer: Committer, store: Store, clock: Clock, claims: Sequence[Claim], begun: Callable[[Claim], None]
) -> Begun:
    """The record and the journal of each claim. One that cannot be read, or of which there is no run, is released, and `begun` told of it."""
    plain: Begun = [
        (claim, record, ()) for claim in claims if (record := claim.record) is not None and not record.journaled
    ]
    if len(plain) == len(claims):
        return plain
    try:
        return await _read(committer, store, claims)
    except UNREADABLE:
        found = Begun()
    for claim in claims:
        try:
            found += await _read(committer, store, [claim])
        except UNREADABLE as error:
            log.exception("run %s cannot be read", claim.fence.id, extra={"event": "blocked", "run_id": claim.fence.id})
            await committer.release(unreadable_claim(claim, error, clock.now()))
            begun(claim)
    return found


async def _read(committer: Committer, store: Store, claims: Sequence[Claim]) -> Begun:
    absent = [claim.fence.id for claim in claims if claim.record is None]
    loaded = dict(zip(absent, await committer.call(store.load, absent), strict=True)) if absent else {}
    if None in loaded.values():
        raise NotFound(f"there is a row of the queue, but no run {absent[0]!r}")  # told if it is alone
    records = [(claim, claim.record or loaded[claim.fence.id]) for claim in claims]
    journals = await read_journals(committer, store, records)
    return [(claim, record, journals.get(claim.fence.id, ())) for claim, record in records if record is not None]
