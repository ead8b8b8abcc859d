"""Hosts and workers as processes: killed in the middle of a call, asked to end, and replaced; on SQLite and PostgreSQL."""

from __future__ import annotations

import signal

import pytest

from stepflow import Engine
from stepflow.model.recovery import TRIED
from stepflow.remote import RemoteHosts, remote_flow
from tests.ports import free_port
from tests.processes.harness import Nursery, eventually
from tests.remote.hosting import SECRET

GUARDED, QUICK = remote_flow("guarded"), remote_flow("quick")


@pytest.fixture
def server(postgres):
    return postgres


@pytest.fixture(params=["sqlite", "postgres"])
def hosts(request, tmp_path):
    url = "" if request.param == "sqlite" else request.getfixturevalue("server").url()
    nursery = Nursery(tmp_path, url)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    with Engine(nursery.url):  # makes the tables before several processes would
        try:
            yield Hosts(nursery)
        finally:
            nursery.close()


class Hosts:
    """Starts host and worker processes on one store."""

    def __init__(self, nursery):
        self.nursery, self.log, self.gate, self.url = nursery, nursery.log, nursery.gate, nursery.url
        self.children = {}

    def host(self, name):
        place = f"http://127.0.0.1:{free_port()}"
        self.children[name] = self._stepflow(name, "host", "tests.remote.served_flows", "--url", place)
        eventually(lambda: self.registered(place) == "running")
        return place

    def worker(self, name):
        self.children[name] = self._stepflow(name, "worker", "--remote", "loopback")

    def _stepflow(self, name, verb, *options):
        options = ["--store", self.url, "--secret-file", str(self.nursery.folder / "secret"), *options]
        return self.nursery.run(name, "stepflow", verb, *options)

    def registered(self, place):
        with Engine(self.url) as engine:
            found = engine.runs(flow="stepflow.host", labels={"stepflow.host": place})
            return str(found[0].status) if found else ""

    def caller(self):
        return Engine(self.url, remote=RemoteHosts(secret=SECRET))


def parked(engine, run):
    eventually(lambda: engine.get_state(run.id).parked)
    return engine.get_state(run.id)


def test_a_host_that_is_killed_in_a_call_is_replaced_by_another_one(hosts):
    places = {name: hosts.host(name) for name in ("host-a", "host-b")}
    with hosts.caller() as engine, engine.worker():
        run = engine.start(GUARDED, id="r")
        (first,) = hosts.log.wait(1, what="begin")
        hosts.children[first.who].kill()
        second = hosts.log.wait(2, what="begin")[1]
        hosts.gate.open()
        state = parked(engine, run)
        assert second.who != first.who
        assert state.annotation("by") == second.who
        tried = [s.transition.annotations.get(TRIED) for s in engine.states().states if s.id == "r"]
        assert "1" in tried  # the call may have been executed: it was an attempt
        eventually(lambda: hosts.registered(places[first.who]) == "cancelled")
        assert hosts.registered(places[second.who]) == "running"
        assert len(hosts.log.entries("end")) == 1


def test_a_worker_that_is_killed_in_a_call_is_replaced_by_another_one(hosts):
    hosts.host("host-a")
    hosts.worker("worker-a")
    with Engine(hosts.url) as engine:
        run = engine.start(GUARDED, id="r")
        hosts.log.wait(1, what="begin")
        hosts.children["worker-a"].kill()
        hosts.worker("worker-b")
        hosts.log.wait(2, what="begin")
        hosts.gate.open(2)
        assert parked(engine, run).annotation("by") == "host-a"


def test_a_host_that_is_asked_to_end_withdraws_and_finishes_its_calls(hosts):
    place = hosts.host("host-a")
    with hosts.caller() as engine, engine.worker():
        run = engine.start(GUARDED, id="r")
        hosts.log.wait(1, what="begin")
        hosts.children["host-a"].send(signal.SIGTERM)
        eventually(lambda: hosts.registered(place) == "completed")
        late = engine.start(QUICK, id="late")
        hosts.gate.open()
        assert parked(engine, run).annotation("by") == "host-a"
        assert hosts.children["host-a"].wait() == 0, hosts.children["host-a"].stderr()
        assert TRIED not in engine.get_state("r").transition.annotations
        hosts.host("host-b")
        assert parked(engine, late).annotation("by") == "host-b"
        assert SECRET not in hosts.children["host-a"].stderr()


def test_many_runs_while_hosts_come_and_go(hosts):
    """None is lost, whichever host is killed; a call is repeated only if its host died in it."""
    hosts.host("host-0")
    with hosts.caller() as engine, engine.worker():
        runs = []
        for number in range(4):
            hosts.host(f"host-{number + 1}")
            runs += [engine.start(QUICK, id=f"r{number}-{n}") for n in range(25)]
            hosts.log.wait(20 * number + 10, what="quick")
            hosts.children[f"host-{number}"].kill()
        eventually(lambda: all(engine.get_state(run.id).parked for run in runs))
        assert {engine.get_state(run.id).transition.annotations.get("stepflow.status", "") for run in runs} == {""}
