"""Who is alive: the own heartbeat, and the verdict over other owners."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from typing import Literal

from stepflow.drivers.port.commit import HeartbeatReply, Peer
from stepflow.drivers.port.store import Store
from stepflow.engine.clock import Clock
from stepflow.errors import StoreError

BEAT_S = 0.5  # while claims are held
LOOK_S = 0.7  # otherwise: others may have died
DOUBT_S = 0.1  # while the store is about to find out that one did
ALIVE_S = 3.0
SILENCE_S = 10.0  # a beat unchanged for so long, by the observer's monotonic clock, means death

Verdict = Literal["alive", "dead", "unknown"]
log = logging.getLogger("stepflow")


class FailureDetector:
    """Judges owners by what was seen of them; pure in the times it is given.

    A free lock proves death. A held one proves nothing (the process may be stopped), so a beat that does not change for
    SILENCE_S seconds means death too. A beat that was seen to change in the last ALIVE_S seconds means life. Of the time
    between two looks at most `longest_gap_s` counts: who slept longer was stopped, and perhaps the others with it.

    `doubtful` is set when another look is worth while soon: a lock is held no more, or an owner is new, and the store is
    not sure yet.
    """

    def __init__(self, longest_gap_s: float = 2.0) -> None:
        self._longest_gap_s = longest_gap_s
        self._looked: float | None = None
        self._seen: dict[str, tuple[int, float, bool]] = {}  # beat, seconds since it changed, whether it ever did
        self._locked: set[str] = set()  # whose lock was seen held
        self.doubtful = False

    def observe(self, peers: Iterable[Peer], mono: float) -> dict[str, Verdict]:
        """The verdict on each peer, by owner id; `mono` is the observer's monotonic time in seconds."""
        gap = 0.0 if self._looked is None else min(mono - self._looked, self._longest_gap_s)
        verdicts: dict[str, Verdict] = {}
        seen = {}
        self.doubtful = False
        for peer in peers:
            owner = peer.owner
            beat, silent_s, moved = self._seen.get(owner.id, (owner.beat, -gap, False))
            silent_s += gap
            if beat != owner.beat:
                beat, silent_s, moved = owner.beat, 0.0, True
            seen[owner.id] = (beat, silent_s, moved)
            if peer.lock == "free" or silent_s >= SILENCE_S:
                verdicts[owner.id] = "dead"
            else:
                verdicts[owner.id] = "alive" if moved and silent_s < ALIVE_S else "unknown"
            if peer.lock == "held":
                self._locked.add(owner.id)
            elif peer.lock == "unknown" and (owner.id in self._locked or not moved):
                self.doubtful = True
        self._seen, self._looked = seen, mono
        self._locked &= seen.keys()
        return verdicts


class Heartbeat:
    """Beats for one engine: on a thread of its own while `start`ed, or whenever `beat` is called."""

    def __init__(self, store: Store, clock: Clock, on_pulse: Callable[[HeartbeatReply, bool], None]) -> None:
        self._store, self._clock, self._on_pulse = store, clock, on_pulse
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
        self._on_pulse(pulse, bool(dead))

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
