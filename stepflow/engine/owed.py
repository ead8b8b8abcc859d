"""Claims that the store counts as ours and that nobody here advances: given back as soon as the store lets us."""

from __future__ import annotations

from collections.abc import Iterable

from stepflow.drivers.base import Store
from stepflow.drivers.values import Claim, Fence, Release
from stepflow.engine.clock import Clock


class Owed:
    """What the store still has to be told: a failure or a cancellation came between a claim and its attempt, or its end.

    Without it such a run would stay with a living owner who does not know of it, and nobody would ever advance it.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._releases: dict[Fence, Release] = {}

    def __len__(self) -> int:
        return len(self._releases)

    def claimed(self, claims: Iterable[Claim], now: int) -> None:
        """These are ours; until they have `begun` they are to be given back."""
        self._releases.update((claim.fence, Release(claim.fence, now)) for claim in claims)

    def begun(self, claim: Claim) -> None:
        """An attempt answers for this claim from now on."""
        self._releases.pop(claim.fence, None)

    def failed(self, release: Release) -> None:
        """The store refused to take this claim back."""
        self._releases[release.fence] = release

    def repay(self) -> None:
        """Give everything back; raises StoreError when the store still refuses. On the thread that writes."""
        if owed := list(self._releases.items()):
            self._store.release([release for _fence, release in owed], self._clock.now())
            for fence, _release in owed:
                self._releases.pop(fence, None)
