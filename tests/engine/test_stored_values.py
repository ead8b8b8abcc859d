"""What a step leaves comes back in the next process as it was, or the step fails: no run is blocked by its own value."""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest

from stepflow import CodecError, DefinitionError, Engine, RunExists, named
from stepflow.testing import VirtualClock

PARIS = ZoneInfo("Europe/Paris")


class Word(enum.StrEnum):
    A = "a"


class Code(str):
    """A text with a name."""


@dataclass
class Parcel:
    kg: int = 1


@dataclass
class Express(Parcel):
    """No field of its own."""


@attrs.define
class Checked:
    n: list[int] = attrs.field(factory=list, validator=attrs.validators.max_len(1))


@dataclass
class Box:
    v: Any = None
    day: date | None = None
    price: Decimal | None = None
    key: UUID | None = None
    span: timedelta | None = None
    at: datetime | None = None
    opens: time | None = None
    text: str = ""
    number: int = 0
    rate: float = 0.0
    meta: dict[str, Any] = field(default_factory=dict)
    counts: dict[int, str] = field(default_factory=dict)
    parcels: list[Parcel] = field(default_factory=list)
    pair: tuple[int, ...] = ()


@dataclass
class CheckedBox:
    checked: Checked = field(default_factory=Checked)


LEFT: list[tuple[str, Any, str]] = [
    ("day", datetime(2026, 1, 1, tzinfo=UTC), "failed"),
    ("day", date(2026, 1, 2), "completed"),
    ("price", "1,50", "failed"),
    ("price", Decimal("nan"), "failed"),
    ("price", Decimal("1.50"), "completed"),
    ("key", "abc", "failed"),
    ("span", timedelta.max, "completed"),
    ("span", timedelta(days=99999, microseconds=1), "completed"),
    ("at", datetime(2026, 3, 7, 9, tzinfo=PARIS), "completed"),
    ("at", datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=1), "completed"),
    ("at", datetime(2026, 3, 7, 9), "failed"),  # noqa: DTZ001
    ("opens", time(9, 30, tzinfo=PARIS), "completed"),
    ("text", Word.A, "failed"),
    ("text", Code("x"), "failed"),
    ("text", chr(0xD800), "failed"),
    ("number", 2.0, "failed"),
    ("number", True, "completed"),
    ("number", 10**400, "completed"),
    ("rate", 10, "completed"),
    ("rate", float("nan"), "failed"),
    ("rate", float("-inf"), "failed"),
    ("meta", {"at": datetime(2026, 1, 1, tzinfo=UTC)}, "failed"),
    ("meta", {"blob": b"x"}, "failed"),
    ("meta", {"tags": {1}}, "failed"),
    ("meta", {"pair": (1, 2)}, "failed"),
    ("meta", {"a": {1: 1, "1": 2}}, "failed"),
    ("meta", {"parcel": Parcel()}, "failed"),
    ("meta", OrderedDict(a=1), "failed"),
    ("meta", {"a": [1, 2.0, None, True, {"b": "c"}]}, "completed"),
    ("counts", {1: "a", 2: "b"}, "completed"),
    ("counts", {1: "a", "1": "b"}, "failed"),
    ("counts", {True: "a"}, "failed"),
    ("parcels", [Parcel(), Express()], "failed"),
    ("parcels", (Parcel(),), "failed"),
    ("pair", [1, 2], "failed"),
    ("pair", (1, 2), "completed"),
    ("undeclared", 1, "failed"),
]


def run_of(box: Any, change: Callable[[Any], object], look: Callable[[Any], object]) -> str:
    """The status of a run whose first step makes a change, and whose second one looks at it after a wait."""
    flow = named("f", type(box)).do("put", change).wait_event("go", "go", str, lambda box, _text: look(box)).compile()
    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow, box)
        engine.run_until_idle()
        if run.status() == "waiting":
            run.publish("go", "on")
            engine.run_until_idle()
        return run.status().value


@pytest.mark.parametrize(("name", "value", "status"), LEFT)
def test_a_value_comes_back_or_its_step_fails(name, value, status):
    seen: list[Any] = []
    ended = run_of(Box(), lambda box: setattr(box, name, value), lambda box: seen.append(getattr(box, name)) and None)
    assert ended == status
    if status == "completed":
        assert seen == [value]
        assert type(seen[0]) is type(value)


def test_a_zone_is_the_same_after_a_wait():
    seen: list[datetime] = []

    def put(box: Box) -> None:
        box.at = datetime(2026, 3, 28, 9, tzinfo=PARIS)
        look(box)

    def look(box: Box) -> None:
        assert box.at is not None
        seen.append((box.at + timedelta(days=1)).astimezone(UTC))

    assert run_of(Box(), put, look) == "completed"
    assert seen == [datetime(2026, 3, 29, 7, tzinfo=UTC)] * 2


@pytest.mark.parametrize(("more", "status"), [([1], "completed"), ([1, 2], "failed")])
def test_what_the_own_validation_would_refuse_fails_the_step_that_left_it(more, status):
    assert run_of(CheckedBox(), lambda box: box.checked.n.extend(more), lambda _box: None) == status


@dataclass
class Opened:
    total: int = 0

    def __post_init__(self) -> None:
        self.total += 5


@dataclass
class Cut:
    text: str = ""

    def __post_init__(self) -> None:
        self.text = self.text.strip()
        self.cache: dict[str, int] = {}


def test_post_init_may_not_change_what_it_made():
    opened = named("f", Opened).do("a", print).compile()
    cut = named("g", Cut).do("a", lambda cut: setattr(cut, "text", " x")).compile()
    fine = named("h", Cut).do("a", lambda cut: setattr(cut, "text", "y")).compile()
    kept = named("i", Cut).do("a", lambda cut: cut.cache.update(a=1)).compile()
    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(opened, cut, fine, kept)
        with pytest.raises(CodecError, match=r"\$\.total is 5 and would come back as 10: code of the class"):
            engine.start(opened, Opened())
        runs = [engine.start(flow, Cut("x")) for flow in (cut, fine, kept)]
        engine.run_until_idle()
        assert [run.status().value for run in runs] == ["failed", "completed", "failed"]


class BaseModel:
    """Stands for the class of this name in pydantic, which need not be installed."""


BaseModel.__module__ = "pydantic.main"


class Model(BaseModel):
    """A model."""


class Plain:
    """It has no fields."""


@dataclass
class Inner:
    price: complex = 0
    model: Model | None = None


@dataclass
class Outer:
    lines: list[Inner] = field(default_factory=list)
    by_name: dict[str, tuple[int, Plain]] = field(default_factory=dict)
    either: str | UUID = ""


def test_compile_names_the_path_of_every_type_that_cannot_be_stored():
    with pytest.raises(DefinitionError) as caught:
        named("f", Outer).do("a", print).compile()
    text = str(caught.value)
    for part in (
        "f: Outer cannot be stored as JSON: Outer.lines[].price: complex cannot be restored from JSON: make it one of",
        "Outer.lines[].model: Model is a model of an old pydantic: stepflow needs 2.12 or newer",
        "Outer.by_name{}[1]: Plain cannot be restored from JSON",
        "Outer.either: str | uuid.UUID has members with the same JSON (str, UUID): declare one of them",
    ):
        assert part in text
    assert isinstance(caught.value, CodecError)
    with pytest.raises(DefinitionError, match=r"g: Model .*is a model of an old pydantic"):
        named("g", Model).do("a", print).compile()
    with pytest.raises(DefinitionError, match="is a model of an old pydantic"):
        named("h").wait_event("e", "e", list[Model], lambda models: None).compile()


def test_a_plain_class_is_for_apply_and_refused_when_a_run_is_started():
    flow = named("f", Plain).do("a", lambda: None).compile()
    assert flow.apply([], Plain()) == ["completed:f/a"]
    with Engine("memory://") as engine, pytest.raises(CodecError, match="Plain cannot be restored from JSON"):
        engine.start(flow, Plain())


@dataclass
class Pay:
    amount: float = 0.0
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


def test_equal_inputs_start_one_run():
    flow = named("f", Pay).do("a", lambda: None).compile()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    with Engine("memory://") as engine:
        engine.start(flow, Pay(10, noon), id="a")
        engine.start(flow, Pay(10.0, noon.astimezone(PARIS)), id="a")
        engine.start_many(flow, [("a", Pay(10.0, noon)), ("b", Pay())])
        with pytest.raises(RunExists, match="with another input"):
            engine.start(flow, Pay(11, noon), id="a")


def test_a_payload_is_restored_by_the_type_of_the_wait():
    seen: list[Any] = []
    flow = (
        named("f", list[int])
        .wait_event("a", "a", tuple[int, str], seen.append)
        .wait_event("b", "b", dict[int, str], seen.append)
        .compile()
    )
    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(flow)
        run = engine.start(flow, [])
        run.publish("a", (1, "x"))
        run.publish("b", {1: "x"})
        engine.run_until_idle()
        assert run.status() == "completed"
    assert seen == [(1, "x"), {1: "x"}]
