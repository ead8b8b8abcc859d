"""A store with few runs of every status, and lists of them, beside any number of newer ones that sleep."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from stepflow.drivers.port.commit import Release
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.store import Store
from stepflow.model.lifecycle import Status
from stepflow.testing.conformance.kit import FLOW, FLOWS, NOW, awaiting, creation, make, polling
from stepflow.testing.conformance.laws.pauses import pause

LATER, LIMIT, OLD = NOW + 10**9, 3, 200
FEW: Mapping[str, tuple[str, ...]] = {
    "running": ("m-held-0", "m-held-1"),
    "blocked": ("m-blocked-0", "m-blocked-1"),
    "paused": ("m-paused-0",),
    "queued": ("m-due-0", "m-due-1", "m-suspect"),
    "waiting": ("m-event", "m-poll"),
}
_QUERIES = {
    **{status: RunQuery(NOW, status=status, limit=LIMIT) for status in FEW},
    "waiting or blocked": RunQuery(NOW, status=("waiting", "blocked"), limit=LIMIT),
    "queued or failed": RunQuery(NOW, status=("queued", "failed"), limit=LIMIT),
    "awaits": RunQuery(NOW, awaits=True, limit=LIMIT),
    "old label": RunQuery(NOW, labels={"age": "old"}, limit=LIMIT),
    "old label of the flow": RunQuery(NOW, FLOW, ("sleeping",), {"age": "old"}, limit=LIMIT),
    "label of few": RunQuery(NOW, labels={"age": "old", "kind": "rare"}, limit=LIMIT),
    "label and status": RunQuery(NOW, status="blocked", labels={"half": "b"}, limit=LIMIT),
    "label of others": RunQuery(NOW, status="waiting", labels={"half": "a"}, limit=LIMIT),
}
QUERIES: Mapping[str, RunQuery] = {
    **_QUERIES,
    **{f"{name}, of the flow": evolve(query, flow=FLOW) for name, query in _QUERIES.items()},
    **{
        f"{name}, by id": evolve(query, order="id", ascending=True)
        for name, query in _QUERIES.items()
        if "old" not in name and name not in ("awaits", "queued or failed")
    },
    "waiting, by due time": RunQuery(NOW, status="waiting", order="due", ascending=True, limit=LIMIT),
    "label, by due time": RunQuery(NOW, labels={"kind": "rare"}, order="due", limit=LIMIT),
}
"""Each looks at more than a page of runs at first; the runs of all but those with a label are older than the others."""


def fill(store: Store) -> None:
    """The few, and the runs with an old label."""
    due = [*FEW["running"], *FEW["blocked"], "m-suspect"]
    made = [
        *[creation(run_id, labels={"half": "b"}) for run_id in due],
        creation("m-event", due=None, transition=awaiting("e")),
        creation("m-poll", due=LATER - 1, transition=polling()),
        creation("m-paused-0", due=LATER),
    ]
    make(store, *made)
    claims = {claim.fence.id: claim.fence for claim in store.claim(FLOWS, NOW, len(due))}
    store.release(
        [Release(claims[one], NOW, blocked="no", blocked_by="d9") for one in FEW["blocked"]]
        + [Release(claims["m-suspect"], NOW, crashes=2)],
        NOW,
    )
    make(store, *[creation(f"m-due-{n}") for n in range(2)])
    pause(store, "m-paused-0")
    labels = {"age": "old"}
    old = [
        creation(f"m-old-{n:04}", due=LATER + n, labels={**labels, "kind": "rare"} if n == 7 else labels)
        for n in range(OLD)
    ]
    make(store, *old)


def sleepers(store: Store, first: int, last: int) -> None:
    """Newer runs that sleep."""
    make(
        store,
        *[
            creation(f"{'az'[n % 2]}{n:06}", due=LATER + OLD + n, created_at=NOW + 1 + n, labels={"half": "a"})
            for n in range(first, last)
        ],
    )


def check(store: Store) -> None:
    """Every list has what it should have."""
    for status, ids in FEW.items():
        for order in ("created", "id"):
            found = store.read(RunQuery(NOW, status=status, order=order, ascending=True))  # type: ignore[arg-type]
            assert {record.state.id for record in found} == set(ids), status
    assert set(FEW) | {"sleeping", "parked"} == {status.value for status in Status if not status.final}
