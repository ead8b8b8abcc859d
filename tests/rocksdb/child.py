"""A process of its own on a RocksDB store: `python -m tests.rocksdb.child VERB PATH [NUMBER]`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stepflow import Engine, named
from stepflow.drivers.port.commit import Commit, Dequeue, Fence, Owner, Release, Write
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.errors import StoreError
from stepflow.model.state import State
from stepflow.testing.conformance.kit import NOW, awaiting, claim, creation, ended, going, make, publish, record, step

IDS = ("a", "b", "c", "d", "e")


def connect(driver: Driver, owner: str) -> Store:
    """A session of that owner."""
    return driver.connect("", Owner(owner, "host", os.getpid()), NOW)


def _creations(store: Store) -> None:
    make(
        store,
        creation("a", labels={"k": "v"}),
        creation("b", exchange="[1]"),
        creation("e", transition=awaiting("paid")),
    )


def _fork(store: Store) -> None:
    """One commit moves a run and makes two."""
    held = record(store, "a").row
    assert held is not None
    writes = (Write(State("a", record(store, "a").state.rev, going("forked"), {"k": "w"})),)
    writes += creation("c").writes + creation("d").writes
    make(store, Commit(unowned=(), writes=writes, queue=creation("c").queue + creation("d", due=NOW + 5).queue))


def _held(store: Store) -> dict[str, tuple[Fence, int]]:
    """The fences and revisions of the runs that are held."""
    found = [one for one in store.load(IDS) if one is not None and one.row is not None and one.row.owner]
    return {one.state.id: (Fence(one.state.id, one.row.epoch), one.state.rev) for one in found if one.row}


def _steps(store: Store) -> None:
    """A batch with a member that is refused."""
    good = [step(fence, rev, exchange=f'"{run_id}"') for run_id, (fence, rev) in _held(store).items()]
    store.commit([*good, creation("a")], NOW)


def _end(store: Store) -> None:
    found = record(store, "c")
    writes = (Write(State("c", found.state.rev, ended())),)
    make(store, Commit(writes=writes, queue=(Dequeue("c"),)))


def _release(store: Store) -> None:
    store.release([Release(fence, NOW + 9, events=("paid",)) for fence, _rev in _held(store).values()], NOW)


SCRIPT: Sequence[Callable[[Store], Any]] = (
    _creations,
    lambda store: claim(store, 2),
    _fork,
    lambda store: make(store, publish("b", "paid", "1"), publish("e", "paid", "1")),
    claim,
    _steps,
    _end,
    _release,
)
"""What the child does, one call after the other; the same on every driver."""


def script(path: str, events: int) -> None:
    """Do the script and say the number of each call that returned; die at the `events`-th moment of writing."""
    left = events

    def fuse(_frame: Any, event: str, called: Any) -> None:
        nonlocal left
        moments = {"write": ("c_call", "c_return"), "flush_wal": ("c_return",)}
        name = getattr(called, "__name__", "")
        if event in moments.get(name, ()) and type(called.__self__).__name__ == "Rdict":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(fuse)
    store = connect(RocksdbDriver(path), "child")
    store.beat(NOW)
    for number, call in enumerate(SCRIPT, 1):
        call(store)
        os.write(1, b"%d\n" % number)
    store.close()


def scripts(folder: str, moments: str) -> None:
    """Do the script in a forked child for each moment, on a store of its own; say how each child ended.

    A fork is much quicker than a start of Python with all imports. No store is open in this process.
    """
    for moment in range(1, int(moments) + 1):
        path = Path(folder) / f"{moment}" / "store"
        path.parent.mkdir()
        child = os.fork()
        if child == 0:
            script(str(path), moment)
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        os.write(1, b"killed\n" if os.WIFSIGNALED(status) else b"ended\n")


def refused(path: str) -> None:
    """Try to open a store and say how that fails."""
    try:
        connect(RocksdbDriver(path), "child").close()
    except StoreError as error:
        print(type(error).__name__, error)


def look(path: str) -> None:
    """Look at a store that another process has open, then try to write."""
    store = connect(RocksdbDriver(path, read_only=True), "child")
    print([found.state.id for found in store.load(["a"]) if found])
    try:
        make(store, creation("b"))
    except StoreError as error:
        print(type(error).__name__, error)
    store.close()


def hold(path: str) -> None:
    """Claim everything, say so, and wait to be killed."""
    store = connect(RocksdbDriver(path), "child")
    store.beat(NOW)
    print(sorted(claim(store)), flush=True)
    sys.stdin.readline()


def fill(path: str, limit: str) -> None:
    """Commit until no file may grow further, then go on when they may."""
    import resource

    store = connect(RocksdbDriver(path), "child")
    _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
    done, error = 0, None
    while error is None:
        try:
            make(store, creation(f"r{done}", exchange="x" * 10_000))
            done += 1
        except StoreError as found:
            error = found
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    print(type(error).__name__, error)
    make(store, creation("after"))
    print(done, len([found for found in store.load([f"r{n}" for n in range(done + 1)]) if found]))
    print(RocksdbDriver(path).maintenance("").check())
    store.close()


def fork(path: str) -> None:
    """Use a store in a forked process, which must be told, and then in the parent."""
    store = connect(RocksdbDriver(path), "child")
    if os.fork() == 0:
        try:
            make(store, creation("forked"))
        except StoreError as error:
            os.write(1, f"{type(error).__name__} {error}\n".encode())
        store.close()
        sys.exit()  # tears the interpreter down, and with it what was inherited
    os.wait()
    print(make(store, creation("parent")))
    store.close()


def engine(path: str, die: str = "") -> None:
    """Start a run of three steps and finish it, or die in the second one."""

    def second() -> None:
        os.write(1, b"second\n")
        if die:
            os.kill(os.getpid(), signal.SIGKILL)

    chain = named("flow").do("first", lambda: os.write(1, b"first\n") and None).do("second", second)
    flow = chain.do("third", lambda: os.write(1, b"third\n") and None).compile()
    with Engine(f"rocksdb:///{path}") as opened:
        opened.register(flow)
        run = opened.start(flow, id="a")
        opened.run_until_idle()
        os.write(1, f"{run.status()}\n".encode())


def without(path: str) -> None:
    """Open a store where the package rocksdict is missing."""
    sys.modules["rocksdict"] = None  # type: ignore[assignment]
    refused(path)


if __name__ == "__main__":
    verb, place, *rest = sys.argv[1:]
    verbs = (scripts, refused, look, hold, fill, fork, engine, without)
    {found.__name__: found for found in verbs}[verb](str(Path(place)), *rest)
