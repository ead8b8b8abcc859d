"""The command line on a store, from several processes: `worker`, `explain`, `show` and `doctor`."""

from __future__ import annotations

import json
import signal
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from stepflow import Engine
from stepflow.cli.app import run as command
from tests.processes import flows, others, shop
from tests.processes.checks import check_chain, histories, start_many
from tests.processes.flows import Count
from tests.processes.harness import Child, Nursery, eventually
from tests.processes.shares import wait_for_all

MODULE = "tests.processes.flows"


def stepflow(nursery: Nursery, *args: str) -> str:
    """What the command prints; it must succeed."""
    out = StringIO()
    with redirect_stdout(out):
        assert command([*args, "--store", nursery.url]) == 0, out.getvalue()
    return out.getvalue()


def hire(nursery: Nursery, name: str, *options: str, module: str = MODULE) -> Child:
    """A `stepflow worker` in a process of its own."""
    return nursery.run(name, "stepflow", "worker", module, "--store", nursery.url, *options)


def dismiss(*staff: Child) -> None:
    """Stop workers."""
    for child in staff:
        child.send(signal.SIGTERM)
    for child in staff:
        assert child.wait() == 0, child.stderr()


def share_by_command(nursery: Nursery, *, runs: int, workers: int) -> None:
    """Several commands share the runs: each step is done once."""
    staff = []
    with Engine(nursery.url) as engine:  # all are at work, and full, when the runs are started
        for number in range(workers):
            staff.append(hire(nursery, f"worker-{number}", "--concurrency", "4"))
            for _more in range(4):
                engine.start(flows.gated, Count())
            nursery.log.wait(4, what="begin", who=staff[-1].name)
    ids = start_many(nursery.url, flows.sync_chain, runs)
    nursery.gate.open(3 * 4 * workers)
    wait_for_all(nursery.url, ids)
    steps = nursery.log.wait(runs * flows.CHAIN, what="step")
    dismiss(*staff)
    assert len(nursery.log.entries("step")) == runs * flows.CHAIN
    assert set(Counter((e.run, e.step) for e in steps).values()) == {1}
    shares = Counter(e.who for e in steps)
    print(dict(shares))
    assert len(shares) == workers
    for entries in histories(nursery.url, ids).values():
        check_chain("sync_chain", entries)


def tell_everything(nursery: Nursery) -> None:
    """`explain` and `show` for a run in every condition that several processes can bring it into."""
    with Engine(nursery.url) as engine:
        run = engine.start(flows.gated, Count(), id="run")
        text = stepflow(nursery, "explain", "run")
        assert "is queued at start:gated since" in text
        assert f"no worker has taken it: run `stepflow worker MODULE --store {nursery.url}`" in text

        other = hire(nursery, "other", module="tests.processes.others")  # it does not know this flow
        engine.start(others.foreign, Count())
        nursery.log.wait(what="step", who="other")
        eventually(lambda: "of 1 at work none has registered flow 'gated'" in stepflow(nursery, "explain", "run"))

        holder = hire(nursery, "holder")
        nursery.log.wait(what="begin", who="holder")
        text = stepflow(nursery, "explain", "run")
        assert "is running at start:gated since" in text
        assert f":{holder.popen.pid}:" in text

        asked = engine.start(flows.waiting, Count(), id="asked")
        eventually(lambda: asked.status() == "waiting")
        text = stepflow(nursery, "explain", "asked")
        assert "it waits for event 'news'" in text
        (line,) = [line for line in text.splitlines() if "publish" in line]
        verb = line.partition("stepflow ")[2].partition(" --store")[0].replace("'", "").split()
        stepflow(nursery, *verb, "news", "3")  # the command that it names, with a payload
        assert asked.result(60) == Count(4)

        holder.kill()
        eventually(lambda: run.status() == "queued")  # the other worker frees it, and cannot go on with it
        text = stepflow(nursery, "explain", "run")
        assert "no worker has taken it" in text
        assert "1 claim(s) of it ended without progress: their processes died" in text
        heir = hire(nursery, "heir")
        nursery.log.wait(what="begin", who="heir")
        text = stepflow(nursery, "explain", "run")
        assert f":{heir.popen.pid}:" in text
        nursery.gate.open(3)
        assert run.result(60) == Count(3)
        dismiss(heir, other)


def tell_of_a_death(nursery: Nursery) -> None:
    """`explain` tells that the holder of a run died while no engine is open that takes it over."""
    with Engine(nursery.url) as engine:
        engine.start(flows.gated, Count(), id="run")
    holder = hire(nursery, "holder")
    nursery.log.wait(what="begin", who="holder")
    held = f"owner {owner_of(nursery, 'run')} holds it and executes what follows start:gated"
    assert held in stepflow(nursery, "explain", "run")
    assert f"why       {held}\n" in stepflow(nursery, "show", "run")
    named = stepflow(nursery, "show", "run", "--flows", MODULE)
    assert f"executes gated/{flows.gated.resume(flows.gated.first().transition).tasks[0].step}\n" in named
    assert "died" not in stepflow(nursery, "list")
    died = held.partition(" holds")[0] + " held it and died"
    holder.kill()
    taken = f"{died}: no worker is at work; run `stepflow worker MODULE --store {nursery.url}` to take it over"
    eventually(lambda: taken in stepflow(nursery, "explain", "run"))
    assert f"why       {taken}\n" in stepflow(nursery, "show", "run")
    assert stepflow(nursery, "list").splitlines()[1].split("\t")[2:5] == ["running", "start:gated", died]
    assert [one["owner_died"] for one in json.loads(stepflow(nursery, "list", "--json"))] == [True]


def owner_of(nursery: Nursery, run_id: str) -> str:
    """The owner that holds a run."""
    with Engine(nursery.url) as engine:
        return engine.get(run_id).info().owner


def tell_of_a_block(nursery: Nursery) -> None:
    """A worker with another definition releases a run; `explain` names the missing step and the remedy."""
    with Engine(nursery.url) as engine:
        run = engine.start(shop.shop_2, Count(), id="order")
        new = nursery.spawn("forever", "shop_2")
        nursery.log.wait(what="begin")
        nursery.gate.open(1)
        nursery.log.wait(2, what="begin")
        new.kill()
        old = nursery.spawn("forever", "shop_1")
        eventually(lambda: run.status() == "blocked")
        text = stepflow(nursery, "explain", "order")
        assert "pick_well" in text
        assert "; it goes on when a definition without this fault is deployed; next try 20" in text
        found = doctor(nursery.url, code=3)
        assert found["blocked runs"]["found"].startswith("1: see stepflow list --status blocked")
        dismiss(old)


def doctor(url: str, code: int = 0) -> dict[str, Any]:
    """The findings of `doctor` by check."""
    out = StringIO()
    with redirect_stdout(out):
        assert command(["doctor", "--store", url, "--json"]) == code, out.getvalue()
    return {finding["what"]: finding for finding in json.loads(out.getvalue())}
