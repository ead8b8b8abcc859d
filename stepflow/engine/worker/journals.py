"""journals: reads the journals of claimed runs, for the authoring styles that replay them; one read for a batch of claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stepflow.drivers.port.commit import Claim, Record
from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.store import Store
from stepflow.engine.commit.committer import Committer
from stepflow.engine.worker.quota import Flows

Rows = Sequence[JournalRow]


async def read_journals(
    committer: Committer, store: Store, flows: Flows, claims: Sequence[tuple[Claim, Record | None]]
) -> Mapping[str, Rows]:
    """The rows of the claimed runs that have some, and whose flow needs them, by run."""
    ids = tuple(
        record.state.id for claim, record in claims if record and record.journaled and flows[claim.row.flow].journaled
    )
    return dict(zip(ids, await committer.call(store.read, JournalQuery(ids)), strict=True)) if ids else {}
