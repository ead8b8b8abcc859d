"""Heartbeat: shows that this engine lives, and releases what dead owners held."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.membership.failure_detector import FailureDetector, Verdict
from stepflow.engine.membership.notifier import Notifier
from stepflow.errors import StoreError

BEAT_S = 0.5  # while claims are held
LOOK_S = 0.7  # otherwise: others may have died
DOUBT_S = 0.1  # while the store is about to find out that one did
log = logging.getLogger("stepflow")


class Heartbeat:
    """Beats for one engine: on a thread of its own while `start`ed, or whenever `beat` is called."""

    def __init__(self, store: Store, clock: Clock, notifier: Notifier) -> None:
        self._store, self._clock, self._notifier = store, clock, notifier
        self._judge = FailureDetector(math.inf) if clock.virtual else FailureDetector()
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.verdicts: dict[str, Verdict] = {}

    def beat(self) -> None:
        """Show life, look at the others, and free what the dead held."""
        with self._guard:
            pulse = self._store.beat(self._clock.now())
            verdicts = self._judge.observe(pulse.peers, self._clock.monotonic())
            dead = [id_ for id_, verdict in verdicts.items() if verdict == "dead"]
            if dead:
                log.warning("taking over from %d dead owner(s): %s", len(dead), ", ".join(dead))
                self._store.beat(self._clock.now(), dead)
            self.verdicts = {id_: v for id_, v in verdicts.items() if v != "dead"}
        self._notifier.heartbeat(pulse, bool(dead))

    def start(self, busy: Callable[[], bool]) -> None:
        """Beat on a daemon thread until `stop`: every BEAT_S seconds while `busy()`, else every LOOK_S, or DOUBT_S."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, args=(busy,), name="stepflow-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, if any."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, busy: Callable[[], bool]) -> None:
        while not self._stop.wait(DOUBT_S if self._judge.doubtful else BEAT_S if busy() else LOOK_S):
            try:
                self.beat()
            except StoreError as error:
                log.warning("heartbeat failed: %s", error)
