"""LentSlots: the slots of steps that wait for other runs, which the worker uses for others meanwhile."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from itertools import islice

from stepflow.engine.execution.attempt import Attempt

log = logging.getLogger("stepflow")

MOST_LENT = 16  # per slot of the worker


class LentSlots:
    """Held runs whose step waits for other runs: with their slots in use, those runs might never get one."""

    def __init__(self, concurrency: int) -> None:
        self._most = MOST_LENT * concurrency
        self._waits: Counter[str] = Counter()  # run id -> how many waits of its steps go on

    def __len__(self) -> int:
        """How many held runs have a step that waits."""
        return len(self._waits)

    def change(self, run_id: str, change: int) -> None:
        """A wait of this run's step begins (1) or ends (-1)."""
        if change > 0 and not self._waits:
            log.info("run %s: a step waits for another run, its slot is used for others meanwhile", run_id)
        self._waits[run_id] += change
        if self._waits[run_id] <= 0:
            del self._waits[run_id]

    def drop(self, run_id: str) -> None:
        """The run is no longer held."""
        self._waits.pop(run_id, None)

    def users(self, held: Mapping[str, Attempt]) -> list[Attempt]:
        """The attempts that use a slot: all that are held, without the first ones that wait for other runs."""
        if not self._waits:
            return list(held.values())
        lent = set(islice(self._waits, self._most))
        return [attempt for run_id, attempt in held.items() if run_id not in lent]

    def used(self, held: Mapping[str, Attempt]) -> int:
        """How many slots are in use."""
        return len(self.users(held)) if self._waits else len(held)
