"""Heartbeat: shows that this engine lives, and releases what dead owners held."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from functools import partial

from stepflow.drivers.port.background import Guard, join, start_thread
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.engine.membership.failure_detector import FailureDetector, Verdict
from stepflow.engine.membership.notifier import Notifier
from stepflow.errors import StepflowError

BEAT_S = 0.5  # while claims are held
LOOK_S = 0.7  # otherwise: others may have died; longer if the store says that none of them holds anything
OVERDUE_S = 5.0  # without a beat: others take over after 10 s
LONGEST_REST_S = OVERDUE_S - 1.0  # between two beats, whatever the store says
DOUBT_S = 0.1  # while the store is about to find out that one did
LONGEST_PAUSE_S = 1.0  # after failures: peers take over from an owner that is silent for 10 s
log = logging.getLogger("stepflow")


class Heartbeat:
    """Beats for one engine: on a thread of its own while `start`ed, or whenever `beat` is called."""

    def __init__(self, store: Store, clock: Clock, notifier: Notifier) -> None:
        self._store, self._clock, self._notifier = store, clock, notifier
        self._judge = FailureDetector(math.inf) if clock.virtual else FailureDetector()
        self._lock = threading.Lock()
        self._stop, self._woken = threading.Event(), threading.Event()
        self._rest_s: float | None = None  # as the store said last; None: others may hold runs
        self.guard = Guard("heartbeat", LONGEST_PAUSE_S)
        self._thread: threading.Thread | None = None
        self._started = False
        self._beaten = 0.0  # monotonic time at which the last beat that succeeded began
        self.verdicts: dict[str, Verdict] = {}

    @property
    def overdue(self) -> bool:
        """Whether this engine, whose thread should beat, has not shown for OVERDUE_S seconds that it lives."""
        return self._started and self._clock.monotonic() - self._beaten > OVERDUE_S

    def beat(self) -> None:
        """Show life, look at the others, and free what the dead held."""
        with self._lock:
            self._rest_s, mono = None, self._clock.monotonic()
            reply = self._store.beat(self._clock.now(), mono=mono)
            self._beaten = mono
            if reply.time is not None:
                self._clock.adjust(reply.time, mono, self._clock.monotonic())
            verdicts = self._judge.observe(reply.peers, mono)
            dead = [id_ for id_, verdict in verdicts.items() if verdict == "dead"]
            if dead:
                log.warning("taking over from %d dead owner(s): %s", len(dead), ", ".join(dead))
                self._store.beat(self._clock.now(), dead, mono)
            self.verdicts = {id_: v for id_, v in verdicts.items() if v != "dead"}
            self._rest_s = None if reply.rest_s is None else min(reply.rest_s, LONGEST_REST_S)
        self._notifier.heartbeat(reply, bool(dead))

    def start(self, busy: Callable[[], bool]) -> float | None:
        """Beat on a daemon thread until `stop`: every BEAT_S seconds while `busy()`, else every LOOK_S, or DOUBT_S.

        Less often while this engine is not busy, and the store says that no other owner holds anything. If the system refuses the
        thread, the answer is after how many seconds to call this again: until then this engine does not beat.
        """
        if not self._started:
            self._stop.clear()
            self._beaten, self._started = self._clock.monotonic(), True
        try:
            self._thread = start_thread(partial(self._run, busy), "stepflow-heartbeat", "the heartbeat")
        except StepflowError as error:
            if self.overdue:
                self._notifier.beat_overdue()
            return self.guard.failed(error)
        return None

    def stop(self) -> None:
        """Stop the thread, if any."""
        self._stop.set()
        self._woken.set()
        self._started, thread, self._thread = False, self._thread, None
        if thread is not None:
            join(thread)

    def hurry(self) -> None:
        """This engine or another owner holds something from now on: the next beat is not that of an idle engine."""
        if self._rest_s is not None:
            self._rest_s = None
            self._woken.set()

    def _pause(self, busy: Callable[[], bool]) -> None:
        """Wait until the next beat is due: the reason may change meanwhile."""
        begun = self._clock.monotonic()
        while not self._stop.is_set():
            self._woken.clear()
            pause_s = DOUBT_S if self._judge.doubtful else BEAT_S if busy() else self._rest_s or LOOK_S
            left_s = begun + pause_s - self._clock.monotonic()
            if left_s <= 0 or not self._woken.wait(left_s):
                return

    def _run(self, busy: Callable[[], bool]) -> None:
        def turn() -> bool:
            self._pause(busy)
            if self._stop.is_set():
                return False
            try:
                self.beat()
            except BaseException:
                if self.overdue:
                    self._notifier.beat_overdue()
                raise
            return True

        self.guard.run(turn, self._stop.wait)
