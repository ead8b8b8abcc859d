"""UnreleasedClaims: claims that this worker holds without an attempt; released as soon as the store accepts it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from stepflow.drivers.port.commit import Claim, Fence, Release
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.errors import StoreError

log = logging.getLogger("stepflow")
Claims = TypeVar("Claims", list[Claim], list[Claim] | None)


class UnreleasedClaims:
    """Claims between the store's answer and their attempt, and claims whose release failed.

    A failure or a cancellation may come at either moment. The store would then count the run as held by a living owner that
    does not advance it.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._taken: dict[Fence, int] = {}  # claim -> when it was taken
        self._releases: dict[Fence, Release] = {}

    def __len__(self) -> int:
        return len(self._taken) + len(self._releases)

    def take(self, flows: Mapping[str, str], limit: int, suspects: bool, claim: Callable[..., Claims]) -> Claims:
        """Claim by `claim`, a method of the store; each claim is unreleased until it has `begun`."""
        now = self._clock.now()
        claims = claim(flows, now, limit, suspects=suspects)
        self._taken.update([(one.fence, now) for one in claims or ()])
        return claims

    def begun(self, claim: Claim) -> None:
        """An attempt is responsible for this claim from now on."""
        self._taken.pop(claim.fence, None)

    def failed(self, release: Release) -> None:
        """The store refused this release; it is to be made again."""
        self._releases[release.fence] = release

    def left(self, error: Exception) -> None:
        """The worker ends although not everything could be released."""
        if count := len(self):
            text = "%d run(s) not released, only their owner's end frees them: %s"
            log.error(text, count, error, exc_info=not isinstance(error, StoreError))

    def release_all(self) -> None:
        """Release everything; raises StoreError when the store still refuses. On the thread that writes."""
        releases = [Release(fence, now) for fence, now in list(self._taken.items())] + list(self._releases.values())
        if releases:
            self._store.release(releases, self._clock.now())
            for release in releases:
                self._taken.pop(release.fence, None)
                self._releases.pop(release.fence, None)
