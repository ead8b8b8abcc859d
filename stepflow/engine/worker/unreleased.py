"""UnreleasedClaims: claims that this worker holds without an attempt; released as soon as the store accepts it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

from attrs import evolve

from stepflow.drivers.port.commit import Claim, Fence, Record, Release
from stepflow.drivers.port.queries import RunQuery
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.errors import OutcomeUnknown, StoreError

log = logging.getLogger("stepflow")
PAGE = 500  # runs that are read at once
Claims = TypeVar("Claims", list[Claim], list[Claim] | None)


class UnreleasedClaims:
    """Claims between the store's answer and their attempt, claims whose release failed, and those that the store made without an answer.

    A failure or a cancellation may come at each of these moments. The store would then count the run as held by a living owner that
    does not advance it. `held` gives the runs that the engine advances.
    """

    def __init__(self, store: Store, clock: Clock, owner: str, held: Callable[[], set[str]]) -> None:
        self._store, self._clock, self._owner, self._held = store, clock, owner, held
        self._unknown = False  # whether a claim may have been made that was not answered
        self._taken: dict[Fence, int] = {}  # claim -> when it was taken
        self._releases: dict[Fence, Release] = {}

    def __len__(self) -> int:
        return len(self._taken) + len(self._releases) + self._unknown

    def take(self, flows: Mapping[str, str], limit: int, suspects: bool, claim: Callable[..., Claims]) -> Claims:
        """Claim by `claim`, a method of the store; each claim is unreleased until it has `begun`."""
        now = self._clock.now()
        try:
            claims = claim(flows, now, limit, suspects=suspects)
        except OutcomeUnknown:
            self._unknown = True
            raise
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
        if self._unknown:
            self._find()
        releases = [Release(fence, now) for fence, now in list(self._taken.items())] + list(self._releases.values())
        if releases:
            self._store.release(releases, self._clock.now())
            for release in releases:
                self._taken.pop(release.fence, None)
                self._releases.pop(release.fence, None)

    def _find(self) -> None:
        """Look for the claims that were not answered: of runs that the store counts as held by this owner, and that nothing here advances."""
        query, held = (
            RunQuery(self._clock.now(), status="running", order="id", ascending=True, limit=PAGE),
            self._held(),
        )
        while True:
            page: list[Record] = self._store.read(query)
            for record in page:
                if record.row is not None and record.row.owner == self._owner and record.state.id not in held:
                    self.failed(Release(Fence(record.state.id, record.row.epoch), query.now))
            if len(page) < PAGE:
                break
            query = evolve(query, after=query.key_of(page[-1]))
        self._unknown = False
