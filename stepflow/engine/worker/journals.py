"""journals: reads the journals of claimed runs; one read for a batch of claims, and none if no run has a journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepflow.drivers.port.commit import Claim, Record
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.store import Store
from stepflow.engine.commit.committer import Committer

Rows = Sequence[JournalRow]


async def read_journals(
    committer: Committer, store: Store, claims: Sequence[tuple[Claim, Record | None]]
) -> Mapping[str, Rows]:
    """The rows of the claimed runs that have some, by the key of the claim."""
    ids = tuple(claim.fence.id for claim, record in claims if record is not None and record.journaled)
    return dict(zip(ids, await committer.call(store.read, JournalQuery(ids)), strict=True)) if ids else {}
