"""Claims that the store counts as ours and that nobody here advances: given back as soon as the store lets us."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from stepflow.drivers.port.commit import Claim, Fence, Release
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock

Claims = TypeVar("Claims", list[Claim], list[Claim] | None)


class UnreleasedClaims:
    """What the store still has to be told: a failure or a cancellation came between a claim and its attempt, or its end.

    Without it such a run would stay with a living owner who does not know of it, and nobody would ever advance it.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._taken: dict[Fence, int] = {}  # and when that was
        self._releases: dict[Fence, Release] = {}

    def __len__(self) -> int:
        return len(self._taken) + len(self._releases)

    def take(self, flows: Mapping[str, str], limit: int, suspects: bool, claim: Callable[..., Claims]) -> Claims:
        """Claim by one of the store's ways; until what it took has `begun` it is to be given back."""
        now = self._clock.now()
        claims = claim(flows, now, limit, suspects=suspects)
        self._taken.update([(one.fence, now) for one in claims or ()])
        return claims

    def begun(self, claim: Claim) -> None:
        """An attempt answers for this claim from now on."""
        self._taken.pop(claim.fence, None)

    def failed(self, release: Release) -> None:
        """The store refused to take this claim back."""
        self._releases[release.fence] = release

    def release_all(self) -> None:
        """Give everything back; raises StoreError when the store still refuses. On the thread that writes."""
        owed = [Release(fence, now) for fence, now in list(self._taken.items())] + list(self._releases.values())
        if owed:
            self._store.release(owed, self._clock.now())
            for release in owed:
                self._taken.pop(release.fence, None)
                self._releases.pop(release.fence, None)
