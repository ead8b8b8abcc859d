"""Payload stages: the laws of the port hold through them, nothing of a value is readable in the store, and no key that is gone loses work."""

from __future__ import annotations

import inspect
import sqlite3
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from attrs import define
from hypothesis import HealthCheck, settings

from stepflow import (
    CodecError,
    Context,
    Engine,
    Fernet,
    GetData,
    GetStateByID,
    Offload,
    RunExists,
    RunFailed,
    Stage,
    StateCtx,
    Status,
    StepflowError,
    StoreData,
    Unavailable,
    Zlib,
    commit,
    current,
    named,
    park,
    workflow,
)
from stepflow.drivers.payload.driver import PayloadDriver, PayloadStore
from stepflow.drivers.port.commit import Owner
from stepflow.drivers.port.store import Driver, Store
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from stepflow.testing.conformance import DriverLaws, DriverMachine, FastPathMachine

pytestmark = pytest.mark.usefixtures("forking")

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()
MARKER = "Xylophone"


def stages(*keys: str) -> list[Any]:
    return [Zlib(over=200), Fernet(keys or (NEW, OLD))]


class PlainHash(Fernet):
    """The laws give creations digests of their own, and want them back."""

    def seal_hash(self, digest: str) -> str:
        return digest


class TestSqlite(DriverLaws):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> PayloadDriver:
        self.path = tmp_path / "store.db"
        return PayloadDriver(SqliteDriver(self.path), [Zlib(over=200), PlainHash([NEW])])

    def begin(self, driver: Driver) -> sqlite3.Connection:
        tx = sqlite3.connect(self.path)
        tx.execute("BEGIN")
        return tx


class Sealed:
    def make_driver(self) -> PayloadDriver:
        self.folders = [*getattr(self, "folders", []), TemporaryDirectory()]
        return PayloadDriver(SqliteDriver(f"{self.folders[-1].name}/store.db"), [Zlib(over=20), PlainHash([NEW])])

    def end_driver(self) -> None:
        for folder in self.folders:
            folder.cleanup()


class SealedMachine(Sealed, DriverMachine):
    pass


class SealedFastPaths(Sealed, FastPathMachine):
    pass


TestMachine, TestFastPaths = SealedMachine.TestCase, SealedFastPaths.TestCase
TestMachine.settings = TestFastPaths.settings = settings(
    max_examples=8, stateful_step_count=25, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize(("port", "wrapper"), [(Store, PayloadStore), (Driver, PayloadDriver)])
def test_every_method_of_the_port_is_forwarded(port: type[Any], wrapper: type[Any]):
    methods = {name for name, member in vars(port).items() if inspect.isfunction(member) and name[:2] != "__"}
    assert methods - vars(wrapper).keys() == set()


class Other(SqliteDriver):
    """A driver that has another value for each attribute of the port."""

    transactions, transaction_limit_s, guards, takes_deltas = "both", 7.5, ("guard",), True

    def connect(self, *_arguments: Any) -> Any:
        return self


def test_every_attribute_of_the_port_is_that_of_the_inner_driver(tmp_path):
    inside = Other(tmp_path / "store.db")
    wrapped = PayloadDriver(inside, [Zlib()])
    session = wrapped.connect("", Owner("me", "host", 1), 0)
    own = {"takes_deltas": False}  # the inner store could not apply a sealed one
    for port, outer in ((Driver, wrapped), (Store, session)):
        for name in inspect.get_annotations(port):
            assert getattr(outer, name) == own.get(name, getattr(inside, name)), name


def test_a_function_in_a_transaction_has_the_time_limit_of_its_store(tmp_path, monkeypatch):
    """Without it one that hangs would keep all writers out of the file."""
    monkeypatch.setattr(SqliteDriver, "transaction_limit_s", 0.05)

    def hang(_letter: Letter, _connection: Any) -> None:
        assert not freed.wait(60)

    freed, late = threading.Event(), named("late.v1", Letter).do("hang", hang, transaction=True).compile()
    with Engine(f"sqlite:///{tmp_path}/store.db", payload=stages()) as engine:
        engine.register(late)
        run = engine.start(late, Letter("a"))
        try:
            engine.run_until_idle()
            assert run.info().error.type == "TimedOut"
        finally:
            freed.set()


@define
class Letter:
    """An exchange."""

    text: str
    answer: str = ""


def write(letter: Letter) -> None:
    letter.answer = current().once("answer", str.__add__, MARKER, " once")


def take(letter: Letter, payload: str) -> None:
    letter.answer += payload


def fail(letter: Letter) -> None:
    raise ValueError(f"{letter.text} is refused")


def step(text: str) -> str:
    return f"{text} result"


def broken(text: str) -> str:
    raise LookupError(f"{text} in a step")


letter_flow = named("letter.v1", Letter).do("write", write).wait_event("reply", "reply", str, take).compile()
failing_flow = named("failing.v1", Letter).do("fail", fail).compile()


@workflow("story.v1")
def story(wf: Context, text: str) -> str:
    found = wf.execute("step", step, text)
    try:
        wf.execute("broken", broken, text)
    except LookupError as error:
        found += str(error)
    return found + wf.wait_for_event("end", "end", str)


FLOWS = (letter_flow, failing_flow, story)


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def fill(engine: Engine) -> None:
    """Let a marker go every way that a value can go."""
    engine.register(*FLOWS)
    engine.start(letter_flow, Letter(MARKER), id="letter")
    engine.start(letter_flow, Letter(MARKER * 100), id="long")
    engine.start(failing_flow, Letter(MARKER), id="failing")
    engine.start(story, MARKER, id="story")
    picture = StateCtx("picture")
    picture.set_data("photo", MARKER.encode() * 5)
    engine.do(commit(StoreData(picture, "photo"), park(picture)))
    engine.run_until_idle()
    engine.get("letter").publish("reply", f" {MARKER} event")
    engine.get("story").publish("end", f" {MARKER} event")
    engine.run_until_idle()
    engine.get("long").publish("other", MARKER)  # not taken


def test_nothing_of_a_value_is_readable_in_the_store(tmp_path):
    with Engine(f"sqlite:///{tmp_path}/store.db", payload=stages()) as engine:
        fill(engine)
        assert engine.get(letter_flow, "letter").result() == Letter(MARKER, f"{MARKER} once {MARKER} event")
        assert engine.get(story, "story").result() == f"{MARKER} result{MARKER} in a step {MARKER} event"
        assert engine.get("failing").info().error.message.startswith(f"{MARKER} is refused")
        with pytest.raises(RunFailed, match=MARKER) as caught:
            engine.get("failing").result()
        assert MARKER in caught.value.traceback
        assert [entry.exchange["text"] for entry in engine.get("long").history()] == [MARKER * 100] * 2
        picture = StateCtx("picture")
        engine.do(GetStateByID(picture, "picture"))
        engine.do(GetData(picture, "photo"))
        assert picture.data("photo").blob == MARKER.encode() * 5
        assert MARKER.encode() not in content(tmp_path)
        assert b"ValueError" in content(tmp_path)  # the type of an error can be read, and looked for
    assert MARKER.encode() not in content(tmp_path)
    with Engine(f"sqlite:///{tmp_path}/plain.db") as engine:
        fill(engine)
        assert MARKER.encode() in content(tmp_path)  # the test can find it


def test_the_same_start_is_the_same_run_under_a_new_key(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with Engine(url, payload=[Fernet([OLD])]) as engine:
        engine.start(letter_flow, Letter("a"), id="one")
    with Engine(url, payload=[Fernet([NEW, OLD])]) as engine:
        assert engine.start(letter_flow, Letter("a"), id="one").id == "one"
        with pytest.raises(RunExists, match="another input"):
            engine.start(letter_flow, Letter("b"), id="one")
        engine.register(letter_flow)
        engine.run_until_idle()
        assert engine.get("one").status() is Status.WAITING
    with Engine(url, payload=[Fernet([NEW])]) as engine:
        with pytest.raises(CodecError, match="is not among Fernet"):
            engine.start(letter_flow, Letter("a"), id="one")
        assert engine.get("one").exchange() == {"text": "a", "answer": f"{MARKER} once"}
    for stages_ in ([Zlib()], None):
        with Engine(url, payload=stages_) as engine, pytest.raises(CodecError, match="cannot be compared"):
            engine.start(letter_flow, Letter("a"), id="one")
    digest = letter_flow.codec.digest(Letter("a"))
    assert digest.encode() not in content(tmp_path)


@pytest.mark.parametrize("other", [[Fernet([OLD])], [Zlib()], None], ids=["other key", "no key", "no stages"])
def test_what_cannot_be_opened_blocks_its_run_and_is_not_lost(tmp_path, other):
    url, clock = f"sqlite:///{tmp_path}/store.db", VirtualClock()
    with Engine(url, payload=stages(NEW), clock=clock) as engine:
        fill(engine)
        engine.start(letter_flow, Letter(MARKER), id="new")
        engine.get("long").publish("reply", "late")
    with Engine(url, payload=other, clock=clock) as engine:
        engine.register(*FLOWS)
        mine = engine.start(letter_flow, Letter("mine"), id="mine")
        engine.run_until_idle()
        assert mine.status() is Status.WAITING
        assert {name: engine.get(name).status() for name in ("new", "long")} == dict.fromkeys(
            ("new", "long"), Status.BLOCKED
        )
        assert "payload stages" in str(engine.get("new").explain())
        with pytest.raises(CodecError, match="payload stages"):
            engine.get("letter").result()
        assert [run.id for run in engine.runs(status=["failed"])] == ["failing"]
        with pytest.raises(RunFailed):
            engine.get("failing").result()
    with Engine(url, payload=stages(NEW, OLD), clock=clock) as engine:
        engine.register(*FLOWS)
        engine.run_until_idle(advance=True)
        assert engine.get(letter_flow, "long").result() == Letter(MARKER * 100, f"{MARKER} oncelate")
        assert engine.get("new").status() is Status.WAITING
        assert engine.get("mine").status() is (Status.BLOCKED if other == [] else Status.WAITING)


def test_values_from_before_the_stages_are_read(tmp_path):
    url = f"sqlite:///{tmp_path}/store.db"
    with Engine(url) as engine:
        fill(engine)
    with Engine(url, payload=stages()) as engine:
        engine.register(*FLOWS)
        engine.get("long").publish("reply", "later")
        engine.run_until_idle()
        assert engine.get(letter_flow, "long").result().answer == f"{MARKER} oncelater"
        assert engine.start(letter_flow, Letter(MARKER), id="letter").id == "letter"


def test_large_values_are_kept_elsewhere(tmp_path):
    kept: dict[str, bytes] = {}
    url = f"sqlite:///{tmp_path}/store.db"
    with Engine(url, payload=[Offload(kept.__setitem__, kept.__getitem__, over=300)]) as engine:
        fill(engine)
        assert engine.get(letter_flow, "long").exchange().text == MARKER * 100
        assert len(kept) == 3  # the exchange before and after its step, and the failure of a step with its traceback
        assert (MARKER * 100).encode() not in content(tmp_path)
        kept |= dict.fromkeys(kept, b"forged")
        with pytest.raises(CodecError, match="payload stages"):
            engine.get("long").exchange()
        assert "payload stages" in engine.get("long").history()[-1].unreadable


def test_a_stage_that_fails_refuses_its_commit_alone(tmp_path):
    def put(_name: str, _data: bytes) -> None:
        raise ConnectionError("no route")

    with Engine(f"sqlite:///{tmp_path}/store.db", payload=[Offload(put, lambda _name: b"", over=300)]) as engine:
        engine.start(letter_flow, Letter("short"), id="one")
        with pytest.raises(Unavailable, match="nothing was written: ConnectionError"):
            engine.start(letter_flow, Letter(MARKER * 100), id="two")
        assert [run.id for run in engine.runs()] == ["one"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: Engine("memory://", payload=[b"key"]), "give a list of stages"),
        (lambda: Engine("memory://", payload=Zlib()), "give a list of stages"),
        (lambda: Engine("memory://", payload=[Zlib(), Zlib(over=1)]), "a tag|one of its own"),
        (lambda: Fernet([]), "give a list of keys"),
        (lambda: Fernet(NEW), "give a list of keys"),
        (lambda: Fernet(["short"]), "32 bytes"),
        (lambda: Zlib(over=-1), "a number of bytes"),
        (lambda: Offload(None, None), "two functions"),
    ],
)
def test_wrong_stages_are_refused_at_once(wrong, why):
    with pytest.raises(StepflowError, match=why):
        wrong()


def test_a_stage_of_ones_own(tmp_path):
    class Reverse(Stage):
        tag = "reverse"

        def pack(self, data: bytes) -> bytes:
            return data[::-1]

        def unpack(self, data: bytes) -> bytes:
            return data[::-1]

    with Engine(f"sqlite:///{tmp_path}/store.db", payload=[Reverse(), Zlib(over=0)]) as engine:
        fill(engine)
        assert engine.get(story, "story").result().startswith(MARKER)


def test_a_value_that_settles_a_call_is_sealed_until_the_run_takes_it(tmp_path):
    def pay(_letter: Letter) -> None:
        raise KeyboardInterrupt

    paid = named("paid.v1", Letter).do("pay", pay, at_most_once=True).compile()
    url, clock = f"sqlite:///{tmp_path}/store.db", VirtualClock()
    with Engine(url, payload=stages(), clock=clock) as engine:
        engine.register(paid)
        engine.start(paid, Letter("bill"), id="one")
        with pytest.raises(KeyboardInterrupt):
            engine.run_until_idle()
        engine.run_until_idle()
        engine.get(paid, "one").resolve("pay", Letter(MARKER))
        assert MARKER.encode() not in content(tmp_path)
    with Engine(url, payload=[Zlib()], clock=clock) as engine:
        engine.register(paid)
        assert engine.run_until_idle().blocked == 1
    clock.advance(60)
    with Engine(url, payload=stages(), clock=clock) as engine:
        engine.register(paid)
        engine.run_until_idle()
        assert engine.get(paid, "one").result() == Letter(MARKER)
