"""Connections that break after the server got a request, servers that restart: nothing is done twice, nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from stepflow import AsyncEngine, Engine, named
from stepflow.drivers.http import HttpDriver
from stepflow.drivers.http.client import ServerClient
from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.step import Step
from stepflow.drivers.registry import driver_for
from stepflow.errors import OutcomeUnknown, RevMismatch, StoreError, Unavailable
from stepflow.model.state import Transition
from stepflow.testing.conformance.kit import FLOWS, NOW, creation, numbers
from tests.http.cutting import Cutter
from tests.http.served import Served
from tests.ports import free_port, refusing_port

pytestmark = pytest.mark.usefixtures("forking")

LIMIT_S = 60


def every_third(method: bytes) -> Callable[[bytes], bool]:
    seen = 0

    def cuts(request: bytes) -> bool:
        nonlocal seen
        seen += method in request.split(b"\r\n")[0]
        return method in request.split(b"\r\n")[0] and seen % 3 == 1

    return cuts


@pytest.fixture
def served():
    served = Served(MemoryDriver())
    yield served
    served.close()


def behind(cutter: Cutter, served: Served) -> str:
    return served.url.rpartition(":")[0] + f":{cutter.port}"


def test_a_commit_whose_answer_is_lost_is_done_once(served):
    cutter = Cutter(int(served.url.rpartition(":")[2]), every_third(b"Store/commit"))
    store = HttpDriver(behind(cutter, served)).connect("", Owner("a", "host", 1), NOW)
    revs = [numbers(store, creation(f"r{n}"))[0] for n in range(9)]
    assert cutter.cut == 5  # a request that is sent again counts as one
    assert revs == sorted(set(revs))
    assert len(store.claim(FLOWS, NOW, 20)) == 9
    store.close()
    cutter.close()


def add_one(numbers: list[int]) -> None:
    numbers.append(len(numbers))


FLOW = named("count", list[int]).do("a", add_one).do("b", add_one).do("c", add_one).compile()


async def go(url: str) -> list[list[int]]:
    async with AsyncEngine(url) as engine:
        engine.register(FLOW)
        runs = [await engine.start(FLOW, [], id=f"r{n}") for n in range(12)]
        async with engine.worker():
            return [await run.result(timeout=LIMIT_S) for run in runs]


def test_runs_end_though_answers_are_lost(served):
    import asyncio

    cutter = Cutter(int(served.url.rpartition(":")[2]), every_third(b"Store/c"))  # commit, claim
    assert asyncio.run(go(behind(cutter, served))) == [[0, 1, 2]] * 12
    assert cutter.cut > 3
    cutter.close()


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", 0.3)
    with (
        refusing_port() as port,
        pytest.raises(Unavailable, match=f"the server at http://127.0.0.1:{port} does not answer: Connection refused$"),
    ):
        driver_for(f"http://secret@127.0.0.1:{port}").connect("", Owner("a", "host", 1), NOW)


def test_an_engine_is_closed_although_its_server_has_ended(served, monkeypatch, caplog):
    monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", 0.3)
    cutter = Cutter(int(served.url.rpartition(":")[2]), lambda _request: False)
    with Engine(behind(cutter, served)) as engine:
        engine.register(FLOW)
        run = engine.start(FLOW, [], id="a")
        engine.run_until_idle()
        assert run.result() == [0, 1, 2]
        cutter.cuts = lambda _request: True
        cutter.close()
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "closed without telling its store" in told
    assert "does not answer" in told


def test_a_call_waits_until_a_server_that_restarts_listens_again(monkeypatch):
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"value": 7}')

        def log_message(self, *_args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
    server.server_bind()  # connections are refused until it listens
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 90:
            server.server_activate()
            threading.Thread(target=server.handle_request, daemon=True).start()

    monkeypatch.setattr("stepflow.drivers.http.client.time", SimpleNamespace(sleep=pause))
    client = ServerClient(f"http://127.0.0.1:{server.server_address[1]}")
    assert client.call("time", {}) == 7
    assert sum(pauses) == pytest.approx(9.0)  # of RETRY_S
    client.close()
    server.server_close()


def test_something_else_answers(tmp_path):
    server = subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        with pytest.raises(StoreError, match=r"answered 501: .*is it a stepflow server"):
            HttpDriver(f"http://127.0.0.1:{port}").connect("", Owner("a", "host", 1), NOW)
    finally:
        server.kill()
        server.communicate()


@pytest.mark.parametrize("url", ["http://", "http://h/path", "http://h?x=1", "https://t@/"])
def test_wrong_urls(url):
    with pytest.raises(StoreError, match="write http://host:port"):
        driver_for(url)


def test_a_token_is_never_shown(served):
    driver = driver_for("https://secret@stepflow.example")
    assert driver.url == "https://***@stepflow.example"
    assert "secret" not in repr(driver)


class Restarted:
    """`stepflow serve` in a process, on one port, which is killed and started again."""

    def __init__(self, tmp_path, *options: str) -> None:
        self.port, self._tmp_path, self._options = free_port(), tmp_path, options
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "stepflow", "serve", "--port", str(self.port), "--store", "sqlite:///kept.db"]
        command += self._options
        self.process = subprocess.Popen(command, cwd=self._tmp_path, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        next(line for line in self.process.stderr if "running on" in line)
        self._reader = threading.Thread(target=self.process.stderr.read, daemon=True)  # else the pipe is full one day
        self._reader.start()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(number)
        self.process.wait(LIMIT_S)
        self._reader.join(LIMIT_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", LIMIT_S)  # a busy machine starts it in more than 10 s
    server = Restarted(tmp_path)
    yield server
    server.kill()


def test_a_session_outlives_a_killed_server(server):
    store = HttpDriver(f"http://127.0.0.1:{server.port}").connect("", Owner("a", "host", 1), NOW)
    (rev,) = numbers(store, creation("r1"))
    (claim,) = store.claim(FLOWS, NOW, 1)
    server.kill()
    server.start()
    (found,) = store.load(["r1"])
    assert found is not None
    assert (found.state.rev, found.row.owner, found.row.epoch) == (rev, "a", claim.fence.epoch)
    server.kill()
    server.start()
    numbers(store, creation("r2"))  # was not sent before, so it is sent to the new session
    assert isinstance(store.commit([creation("r1")], NOW)[0], RevMismatch)


class RestartsOnce:
    """Selects the first answer to a method, and restarts the server before the connection is cut."""

    def __init__(self, server: Restarted, method: str) -> None:
        self._server, self._method, self._lock, self._done = server, f"/{method}".encode(), threading.Lock(), False

    def __call__(self, request: bytes) -> bool:
        if not request.split(b"\r\n")[0].split(b" ")[1].endswith(self._method):
            return False
        with self._lock:  # requests may come at the same time
            first, self._done = not self._done, True
        if first:
            self._server.kill()
            self._server.start()
        return first


def test_the_outcome_of_a_write_that_the_killed_server_did_not_answer_is_unknown(server):
    cutter = Cutter(server.port, RestartsOnce(server, "commit"))
    store = HttpDriver(f"http://127.0.0.1:{cutter.port}").connect("", Owner("a", "host", 1), NOW)
    (known,) = store.commit([creation("r1")], NOW)
    assert isinstance(known, RevMismatch)  # it was carried out: those who start a run look whether it is theirs
    (claim,) = store.claim(FLOWS, NOW, 1)
    cutter.cuts = RestartsOnce(server, "commit")
    assert claim.record is not None
    state = claim.record.state
    step = Step("r1", claim.fence.epoch, state.rev, Transition("f", {}), state.labels, state.annotations, None, None)
    (unknown,) = store.commit([step], NOW)
    assert isinstance(unknown, OutcomeUnknown)
    assert "was restarted; it may have carried out 'commit'" in str(unknown)
    store.close()
    cutter.close()


@pytest.mark.parametrize("method", ["commit", "claim", "release"])
def test_a_worker_that_ends_when_it_is_idle_outlives_a_restart_in_a_write(server, method):
    flow = (
        named("adds", list[int]).do("a", add_one).do("b", add_one).wait_event("e", "told", int, list.append).compile()
    )
    with Engine(f"http://127.0.0.1:{server.port}") as engine:
        for number in range(3):
            engine.start(flow, [], id=f"r{number}").publish("told", 7)

    cutter = Cutter(server.port, RestartsOnce(server, method))
    with Engine(f"http://127.0.0.1:{cutter.port}") as engine:
        engine.register(flow)
        if method == "release":
            engine.start(flow, [], id="waits")
        assert engine.run_until_idle().completed == 3
        assert [engine.get(f"r{number}").result() for number in range(3)] == [[0, 1, 7]] * 3
        assert cutter.cut == 1
    cutter.close()


def test_an_engine_goes_on_when_its_server_is_back(server):
    begun = threading.Event()

    def first(numbers: list[int]) -> None:
        begun.set()
        add_one(numbers)

    flow = named("long", list[int]).do("first", first)
    for name in "abcdefgh":
        flow = flow.do(name, add_one)
    long = flow.compile()
    with Engine(f"http://127.0.0.1:{server.port}") as engine:
        engine.register(long)
        with engine.worker():
            runs = [engine.start(long, [], id=f"r{n}") for n in range(8)]
            assert begun.wait(LIMIT_S)
            server.kill()
            server.start()
            assert [run.result(timeout=LIMIT_S) for run in runs] == [list(range(9))] * 8


def test_a_server_that_is_restarted_in_order_takes_no_run_from_a_worker_that_lives(server):
    begun, go_on, calls = threading.Event(), threading.Event(), list[str]()

    def first(name: str) -> None:
        calls.append(name)
        if name == "long":
            begun.set()
            assert go_on.wait(LIMIT_S)

    flow = named("restarted", str).do("first", first).compile()
    with Engine(f"http://127.0.0.1:{server.port}") as engine:
        engine.register(flow)
        with engine.worker():
            long = engine.start(flow, "long")
            assert begun.wait(LIMIT_S)
            server.kill(signal.SIGTERM)
            server.start()
            assert engine.start(flow, "short").result(timeout=LIMIT_S) == "short"  # so the worker has claimed again
            go_on.set()
            assert long.result(timeout=LIMIT_S) == "long"
    assert calls == ["long", "short"]


def test_a_secret_that_the_server_does_not_know(tmp_path):
    (tmp_path / "tokens.toml").write_text(f'[ops]\nsha256 = "{"0" * 64}"\nscope = "read"\n')
    server = Restarted(tmp_path, "--tokens", "tokens.toml")
    try:
        for secret in ("", "wrong@"):
            driver = HttpDriver(f"http://{secret}127.0.0.1:{server.port}")
            with pytest.raises(StoreError, match=r"answered 401: .*; the secret of a token .* http://SECRET@host:port"):
                driver.connect("", Owner("a", "host", 1), NOW)
    finally:
        server.kill()
