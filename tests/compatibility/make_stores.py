"""Makes the stores that the tests of this folder open, and records what the code that wrote them says of them.

The files in `written_by_3834636` were made by commit 3834636 (0.1, before the modules moved to their present places):

    git worktree add /srv/old 3834636
    cd / && PYTHONPATH=/srv/old:/srv/new python -m tests.compatibility.make_stores /srv/new/tests/compatibility/written_by_3834636

where /srv/new is a checkout with this file. `stepflow` then comes from the first, `tests.compatibility` from the second
folder; the current directory must hold neither. It uses public names only, so it runs with any later version too: each
layout of the stores that is released gets a folder of its own, and no file here is ever written again.

Owners' ids and process ids differ each time; all else is the same.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from stepflow import Engine, Limit, Stack, StateCtx, StoreData, commit, delay, park, transit
from stepflow.testing import VirtualClock
from tests.compatibility import flows
from tests.compatibility.finish import AT, NAMESPACES, SILENCE_S, finish
from tests.compatibility.flows import Address, Order, Signature
from tests.compatibility.record import everything, outcome
from tests.compatibility.stores import FILES, KINDS, RECORD, load, pack, unpack, url_in
from tests.postgres.server import Server

START = datetime(2025, 1, 6, 9, tzinfo=UTC)
ODD = "a/b c?d%e#ü"  # an id
TEXT = 'naïve 漢字 \x00 \x01 \x7f "quoted" \\ 🙂'
PRINTER = Limit("printer", concurrency=1)
API = Limit("api", rate=2, per=86_400)
PLACES = {  # the step in which each run's process is killed, by namespace; "" for a function
    "crashes": {"suspect": "one"},
    "": {"hand": "", "hand-delayed": "", "hand-snapshot": "", "killed-in-one": "one"}
    | dict.fromkeys(("killed-in-two", "killed-printing", "killed-cancelled"), "two"),
}


class Standing(VirtualClock):
    """Time stands still, but the engine works with threads, as in production."""

    virtual = False


def runs(engine: Engine, clock: VirtualClock) -> None:
    """Chains at every kind of position, with a worker at work."""
    engine.register(*(flow for flow in flows.ALL if flow not in flows.KILLED))
    start = engine.start
    start(
        flows.order_flow,
        Order(1, address=Address("Straße 1", 8001), placed=AT),
        id="completed",
        labels={"tenant": "acme"},
    )
    start(flows.order_flow, Order(2, note=TEXT), id=ODD, labels={"city": "Köln"})
    start(flows.strict_flow, Order(3), id="failed", labels={"tenant": "acme"})
    start(flows.signature_flow, Order(4), id="cancelled")
    start(flows.call_flow, Order(5), id="calling", priority=3)
    start(flows.upload_flow, Order(6), id="retrying")
    start(flows.upload_flow, Order(13), id="exhausted")
    start(flows.server_flow, Order(7), id="server")
    start(flows.build_flow, Order(8), id="polling")
    start(flows.never_flow, Order(9), id="never")
    start(flows.approval_flow, Order(10), id="approval")
    start(flows.approval_flow, Order(11), id="unapproved")
    start(flows.approval_flow, Order(18), id="expired")
    start(flows.signature_flow, Order(12), id="unsigned")
    start(flows.signature_flow, Order(14), id="half-signed")
    start(flows.price_flow, Order(15), id="priced")
    start(flows.loop_flow, Order(16), id="looping")
    start(flows.shape_flow, Order(17), id="blocked")
    for number in range(3):
        start(flows.order_flow, Order(20 + number), id=f"api-{number}", limits=[API, Limit("tenant/acme", 5)])
    start(flows.offer, id="offer", labels={"kind": "offer"})
    start(flows.mail, id="mail")
    engine.run_until_idle()
    engine.get("cancelled").cancel()
    engine.get("half-signed").publish("signed", Signature("Ada", AT), id="first")
    for price in (10, 20, 30):
        engine.get("priced").publish("price.set", price, id=f"price-{price}")
    states(engine)
    engine.run_until_idle()
    clock.advance(60)  # the second looks of the polls; the short delays are due
    engine.run_until_idle()


def states(engine: Engine) -> None:
    """States with data, delays, States that are stacked, and recovery annotations."""
    letter = StateCtx("letter", {"customer": "ada"}, {"subject": "Hello\n“Ada”"})
    letter.set_data("body", "Dear Ada,")
    letter.set_data("photo", bytes(range(256)), binary=True)
    engine.do(commit(StoreData(letter, "body"), StoreData(letter, "photo"), park(letter, state="written")))
    letter.set_data("body", "Dear Ädä,")
    letter.labels["customer"], letter.labels["urgent"] = "ädä", "yes"
    engine.do(commit(StoreData(letter, "body"), park(letter, state="corrected")))

    def later(name: str, to: str, seconds: float, **options: Any) -> StateCtx:
        state = StateCtx(name, {"kind": name})
        engine.do(commit(park(state), delay(state, to, seconds, **options)))
        return state

    later("fired", "moved.v1", 30)
    later("delayed", "moved.v1", timedelta(days=7), why="a week")
    engine.do(commit(park(later("void", "moved.v1", timedelta(days=7)), state="moved on")))
    engine.do(commit(park(later("snapshot", "remind.v1", timedelta(days=2), commit=False, text="then"), text="now")))
    later("hand-delayed", "hand.v1", 30)
    later("hand-snapshot", "hand.v1", 30, commit=False)

    for name in ("question", "question-data"):
        caller, carrier = StateCtx(f"caller of {name}", {"kind": "caller"}, {"since": "then"}), StateCtx(name)
        if name == "question-data":
            caller.set_data("form", b"\x00\xff", binary=True)
            engine.do(commit(StoreData(caller, "form"), park(caller, state="asks")))
        engine.do(commit(park(caller, state="stacked"), Stack(carrier, caller, "caller"), park(carrier)))

    prefix = "flowstate.recovery."
    for name, notes in {
        "mail-later": {f"{prefix}retry_after": "1h30m", f"{prefix}max_attempts": "9"},
        "mail-failed": {f"{prefix}max_attempts": "1"},
        "mail-alone": {f"{prefix}enabled": "false"},
    }.items():
        ctx = StateCtx(name, {}, notes)
        engine.do(commit(park(ctx)), commit(delay(ctx, "mail.v1", 1)))


def waiting(engine: Engine, clock: VirtualClock) -> None:
    """What no worker has seen yet."""
    start, now = engine.start, clock.datetime()
    start(flows.order_flow, Order(30), id="queued", priority=5)
    start(flows.order_flow, Order(31), id="urgent", priority=-10, labels={"tenant": "acme"})
    start(flows.order_flow, Order(32), id="later", at=now + timedelta(days=3))
    start(flows.order_flow, Order(33), id="alarm", dedup_key="alarm", dedup_window=timedelta(days=30))
    start(flows.killed_flow, Order(34), id="killed-in-one")
    start(flows.killed_flow, Order(35), id="killed-in-two", labels={"tenant": "acme"})
    start(flows.killed_flow, Order(36), id="killed-printing", limits=PRINTER)
    start(flows.killed_flow, Order(37), id="killed-cancelled")
    start(flows.hand, id="hand")
    engine.get("unsigned").publish("unheard", {"a": ["list", 1.5, None]}, id="unheard-1")
    moved = StateCtx("moved", {"kind": "moved", "other": "label"})
    engine.do(commit(transit(moved, "moved.v1", by="a client")))


def namespace(engine: Engine) -> None:
    """The same ids again in another namespace, with other contents."""
    engine.register(flows.signature_flow, flows.order_flow)
    engine.start(flows.signature_flow, Order(40), id="unsigned", labels={"tenant": "b"})
    engine.start(flows.order_flow, Order(41), id="completed", labels={"tenant": "b"})
    engine.run_until_idle()
    engine.start(flows.order_flow, Order(42), id="queued")
    letter = StateCtx("letter", {"customer": "bob"})
    letter.set_data("body", "Dear Bob,")
    engine.do(commit(StoreData(letter, "body"), park(letter)), commit(delay(letter, "moved.v1", 3600)))


def worker(url: str, moment: str, name: str) -> None:
    """A process of its own: takes runs, and is killed when each is at its place in the middle of a step.

    They get there one after the other, so that their revisions are in the same order each time.
    """
    names, arrived, news = list(PLACES[name]), set(), threading.Condition()

    def interrupt(run_id: str, step: str) -> None:
        before = set(names[: names.index(run_id)])
        with news:
            assert news.wait_for(lambda: before <= arrived, 30)
            if step == PLACES[name][run_id]:
                arrived.add(run_id)
                news.notify_all()
                assert news.wait_for(lambda: len(arrived) == len(names), 30)
                os.kill(os.getpid(), signal.SIGKILL)

    flows.interrupt = interrupt
    with Engine(url, namespace=name, clock=Standing(datetime.fromisoformat(moment))) as engine:
        engine.register(*flows.KILLED)
        engine.run_until_idle()


def client(url: str, moment: str, posts: str) -> None:
    """A process of its own: moves a State, cancels a run that a dead worker holds, posts, and is killed before it can go on."""
    with Engine(url, clock=VirtualClock(datetime.fromisoformat(moment))) as engine:
        kept = StateCtx("kept", {"kind": "kept"})
        engine.do(commit(transit(kept, "moved.v1", by="its owner")))
        engine.get("killed-cancelled").cancel()
        engine.start(flows.killed_flow, Order(38), id="behind-printing", limits=PRINTER)
        tx = psycopg.connect(posts) if posts.startswith("postgresql") else sqlite3.connect(posts) if posts else None
        engine.start(flows.order_flow, Order(50), id="posted", labels={"tenant": "acme"}, tx=tx)
        engine.get("unapproved").publish("order.approved", "posted", id="posted-1", tx=tx)
        if tx is not None:
            tx.commit()
        os.kill(os.getpid(), signal.SIGKILL)


def killed(verb: str, *arguments: str) -> None:
    """Run a verb in a process of its own, which has to be killed."""
    done = subprocess.run([sys.executable, "-m", __spec__.name, verb, *arguments], check=False)
    if done.returncode != -signal.SIGKILL:
        raise SystemExit(f"{verb}: exit code {done.returncode}")


def write(url: str, posts: str) -> datetime:
    """Fill a new store; the time at which it is left. `posts` is where callers' transactions go, empty if there are none."""
    clock = VirtualClock(START)
    plain = url.partition("&shards=")[0]
    with Engine(url, namespace="crashes", clock=clock) as engine:
        engine.start(flows.killed_flow, Order(60), id="suspect")
    for _ in range(2):
        killed("worker", plain, clock.datetime().isoformat(), "crashes")
        with Engine(plain, namespace="crashes", clock=clock) as engine:
            if url.startswith("postgresql"):
                engine.run_until_idle()  # here only its silence tells that an owner died, so this is a first look
            clock.advance(SILENCE_S)
            engine.run_until_idle()
    flows.broken = {"address", "call", "upload", "mail"}
    with Engine(plain, clock=clock) as engine:
        runs(engine, clock)
        engine.get("blocked").publish("go", "go", id="go-1")
    with Engine(plain, clock=clock) as engine:
        engine.register(flows.uncut_shape_flow)
        engine.run_until_idle()
    with Engine(plain, clock=clock) as engine:
        waiting(engine, clock)
    with Engine(plain, namespace="tenant-b", clock=clock) as engine:
        namespace(engine)
    flows.broken = set()
    moment = clock.datetime()
    killed("worker", plain, moment.isoformat(), "")
    killed("client", plain, moment.isoformat(), posts)
    return moment


def record(url: str, moment: datetime) -> dict[str, Any]:
    """What this version says of a copy of the store, and how it brings everything to its end."""
    found = {}
    for name in NAMESPACES:
        clock = VirtualClock(moment)
        with Engine(url, namespace=name, clock=clock) as engine:
            opened = everything(engine)
            finish(engine, clock, name)
            found[name] = {"opened": opened, "ended": outcome(engine, moment, moment + timedelta(seconds=SILENCE_S))}
    return {"left_at": moment.isoformat(), "namespaces": found}


def make_file(kind: str, target: Path) -> Any:
    """A store in a file or folder, as its killed processes left it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "written")
        folder.mkdir()
        moment = write(url_in(kind, folder), str(folder / "runs.db") if kind == "sqlite" else "")
        if kind == "sqlite":
            with sqlite3.connect(folder / "runs.db") as database:
                database.execute("pragma wal_checkpoint(truncate)")
            database.close()
        else:
            for log in folder.glob("runs/LOG*"):  # informational, and full of paths
                log.unlink()
        pack(folder, target / FILES[kind])
        return record(unpack(kind, target, Path(place, "read")), moment)


def make_postgres(target: Path) -> Any:
    """A schema, as a script of statements that psql and psycopg can execute, of the oldest version that the tests use."""
    server = Server(16)
    try:
        moment = write(f"{server.uri}&shards=3", server.uri)
        dump = [server._server.bin_path / "pg_dump", "--no-owner", "--inserts", "--rows-per-insert=100", server.uri]
        script = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
        script = re.sub(r"(?m)^\\(un)?restrict .*\n", "", script)  # commands of psql
        (target / FILES["postgres"]).write_text(script, "utf-8")
        return record(load(target, server, "copy"), moment)
    finally:
        server.close()


def main(target: Path) -> None:
    target.mkdir(exist_ok=True)
    made, owners = [], {}
    for kind in KINDS:
        found = make_postgres(target) if kind == "postgres" else make_file(kind, target)
        runs = found["namespaces"][""]["opened"]["runs"]
        owners[kind] = {"the worker": runs["hand"]["owner"], "the client": runs["kept"]["owner"], "": ""}
        names = {owner: name for name, owner in owners[kind].items()}
        for run in runs.values():
            run["owner"] = names[run["owner"]]
        made.append(found)
    for kind, found in zip(KINDS, made, strict=True):
        if found != made[0]:
            parts = [lines(one, 5).splitlines() for one in (made[0], found)]
            sys.exit("\n".join(difflib.unified_diff(*parts, KINDS[0], kind, n=0, lineterm="")))
    (target / RECORD).write_text(lines(made[0] | {"owners": owners}, 5) + "\n", "utf-8")


def lines(value: Any, depth: int) -> str:
    """JSON with a line for each thing down to this depth."""
    if depth == 0 or not value or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(", ", ":"), sort_keys=True)
    if isinstance(value, list):
        return "[\n" + ",\n".join(lines(item, depth - 1) for item in value) + "\n]"
    items = (f"{json.dumps(key, ensure_ascii=False)}:{lines(value[key], depth - 1)}" for key in sorted(value))
    return "{\n" + ",\n".join(items) + "\n}"


if __name__ == "__main__":
    socket.gethostname = lambda: "shop-1"  # so that the files do not tell where they were made
    match sys.argv[1:]:
        case ["worker", *arguments]:
            worker(*arguments)
        case ["client", *arguments]:
            client(*arguments)
        case [folder]:
            main(Path(folder).absolute())
        case _:
            sys.exit(__doc__)
