"""A process whose children make a short history of calls and are killed: `python -m stepflow.testing.conformance.processes.crash_child URL`.

Each line `NAMESPACE CALL MOMENT` on its input makes it fork a child that does the history in that namespace and kills itself
in call number CALL (from 1): at the MOMENT-th time that a function is called or returns in it, or after the call and before it
is acknowledged (MOMENT 0). It says `done CALL` for each call that is acknowledged, `moments N` for how many moments
the last call has, and `over` at the end. Forked, because a start of Python for each of many deaths would take minutes.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from stepflow.drivers.port.commit import (
    Commit,
    DataRevOf,
    Dequeue,
    Enqueue,
    Fence,
    Owner,
    Placeholder,
    Release,
    RevOf,
    Write,
)
from stepflow.drivers.port.delays import DataWrite, Delay, delay_key
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.schedules import ScheduleChange
from stepflow.drivers.port.step import Append
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.registry import driver_for
from stepflow.model.family import PARENT
from stepflow.model.state import State, Transition
from stepflow.testing.conformance.kit import NOW, awaiting, claim, creation, ended, going, make, publish, record, step

IDS = ("a", "b", "c", "d", "e", "f")
WOKEN = delay_key("a", 1)


def _create(store: Store) -> None:
    make(
        store,
        creation("a", labels={"k": "v"}),
        creation("b", exchange="[1]"),
        creation("e", due=None, transition=awaiting("paid")),
    )


def _fork(store: Store) -> None:
    """One commit moves a run and makes two."""
    moved = Write(State("a", record(store, "a").state.rev, going("forked"), {"k": "w"}))
    writes = moved, *creation("c", labels={PARENT: "e"}).writes, *creation("d").writes
    make(store, Commit(writes=writes, queue=creation("c").queue + creation("d", due=NOW + 5).queue))


def _publish(store: Store) -> None:
    make(store, publish("b", "paid", "1"), publish("e", "paid", "1"))


def _held(store: Store) -> dict[str, tuple[Fence, int]]:
    """The fences and revisions of the runs that are held."""
    found = [one for one in store.load(IDS) if one is not None and one.row is not None and one.row.owner]
    return {one.state.id: (Fence(one.state.id, one.row.epoch), one.state.rev) for one in found if one.row}


def _steps(store: Store) -> None:
    """A batch with a member that is refused, and an event that is used up."""
    good = [step(fence, rev, exchange=f'"{run_id}"') for run_id, (fence, rev) in _held(store).items()]
    used = {"e": tuple(event.seq for event in record(store, "e").events)}
    store.commit([creation("a"), *(one._replace(consume=used.get(one.writes[0].state.id, ())) for one in good)], NOW)


def _record(store: Store) -> None:
    """Journal rows of all held runs, without a step."""
    rows = (JournalRow("k:1", "once", "f", "1"), JournalRow("k:2", "step", "", '"ü"', failed=True))
    store.commit([Append(run_id, fence.epoch, rows) for run_id, (fence, _rev) in _held(store).items()], NOW)


def _fire(store: Store) -> None:
    """A schedule is made with the run that it starts."""
    body = ScheduleChange("nightly", 0, NOW + 60, "{}")
    make(store, creation("f", due=NOW + 60)._replace(schedule=body))


def _attach(store: Store) -> None:
    """One commit with a delay and data, which holds its own numbers."""
    fence, rev = _held(store)["a"]
    state = State("a", rev, going("attached"))
    later = Delay(State("a", 0, going("woken")), NOW)
    blob = DataWrite("a", b"\x00blob", {"k": "v"})
    own = (Placeholder("write", 0, "data", DataRevOf(0)), Placeholder("delay", 0, None, RevOf(0)))
    make(store, Commit(fence, writes=(Write(state, "[9]"),), delays=(later,), data=(blob,), placeholders=own))


def _end(store: Store) -> None:
    """The end of a child, of which its parent is told in the same atom."""
    writes = (Write(State("c", record(store, "c").state.rev, ended(), {PARENT: "e"})),)
    make(store, Commit(writes=writes, queue=(Dequeue("c"),)))


def _release(store: Store) -> None:
    store.release([Release(fence, NOW + 9, events=("paid",)) for fence, _rev in _held(store).values()], NOW)


def _move(store: Store) -> None:
    """The delay that is held moves its run, whose row is then owned."""
    woken = record(store, WOKEN).row
    assert woken is not None
    writes = (Write(State("a", record(store, "a").state.rev, Transition("other"))),)
    queue = Dequeue(WOKEN), Enqueue("a", "other", NOW, owned=True)
    make(store, Commit(Fence(WOKEN, woken.epoch), writes=writes, queue=queue))


HISTORY: Sequence[Callable[[Store], Any]] = (
    lambda store: store.beat(NOW),
    _create,
    lambda store: claim(store, 2),
    _fork,
    _publish,
    claim,
    _record,
    _steps,
    _fire,
    _attach,
    _end,
    _release,
    claim,
    _move,
    lambda store: store.close(),
)
"""The calls of the process, in order; the same on every driver."""


def connect(driver: Driver, namespace: str, owner: str) -> Store:
    """A session of that owner."""
    return driver.connect(namespace, Owner(owner, "host", os.getpid()), NOW)


class KillAtMoment:
    """Counts moments: calls and returns of functions, also of those in C; at the `last` one the process is killed."""

    def __init__(self, last: int) -> None:
        self._last = last
        self.moments = 0

    def __call__(self, _frame: FrameType, _event: str, _called: Any) -> None:
        self.moments += 1
        if self.moments == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def say(*words: object) -> None:
    """Tell the parent a line, in one piece."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def run_until_killed(driver: Driver, namespace: str, call: int, moment: int) -> None:
    """Make the calls of the history; the process is killed in number `call`."""
    store = connect(driver, namespace, f"{namespace}-child")
    for number, work in enumerate(HISTORY, 1):
        counter = KillAtMoment(moment)
        if number == call:
            sys.setprofile(counter)
        work(store)
        sys.setprofile(None)
        if number == call:
            say("moments", counter.moments)
            os.kill(os.getpid(), signal.SIGKILL)
        say("done", number)


def main(url: str) -> None:
    """Fork a child for each line of the input."""
    driver = driver_for(url)
    for line in iter(sys.stdin.readline, ""):
        namespace, call, moment = line.split()
        pid = os.fork()
        if not pid:
            run_until_killed(driver, namespace, int(call), int(moment))
        _pid, status = os.waitpid(pid, 0)
        say("over" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else f"ended {status}")


if __name__ == "__main__":
    main(sys.argv[1])
