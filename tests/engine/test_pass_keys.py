"""current().key in loops: the same in all attempts of a step within one pass, another one in each pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from attrs import Factory, define, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepflow import Engine, MemoryDriver, RetryPolicy, Status, Steps, current, named
from stepflow.drivers.port.store import Driver
from stepflow.model.state import PASSES
from stepflow.testing import VirtualClock
from tests.engine.flows import Broken

Pass = tuple[str, tuple[int, ...]]
"""The path of a step, and how often each loop around it has begun anew."""


@frozen
class Node:
    """A step ("do"), a loop, or a retry group. A step raises, and a condition is false, at the calls for which `no` is true."""

    kind: str
    no: tuple[bool, ...] = ()
    raises: tuple[bool, ...] = ()  # of a loop's condition
    body: tuple[Node, ...] = ()


SAID = st.lists(st.booleans(), max_size=3).map(tuple)
STEPS = st.builds(Node, st.just("do"), SAID)


def groups(inside: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    body = st.lists(inside, min_size=1, max_size=3).map(tuple)
    return st.builds(Node, st.just("loop"), SAID, SAID, body) | st.builds(Node, st.just("retry"), body=body)


NODES = st.recursive(STEPS, groups, max_leaves=6)


@define
class Case:
    """The calls of a chain, counted by name; the engine and the reference ask it what each of them does."""

    interrupts: frozenset[int] = frozenset()  # the calls, of all, in which the process dies
    began: int = 0
    counts: Counter[str] = Factory(Counter)
    seen: list[Any] = Factory(list)

    def says_no(self, name: str, no: Sequence[bool], raises: Sequence[bool] = ()) -> bool:
        number = self.counts[name]
        self.counts[name] += 1
        if raises[number : number + 1] == (True,):
            raise Broken
        return no[number : number + 1] == (True,)

    def call(self) -> None:
        """Note the key of the present step; the process may die."""
        self.began += 1
        dies = self.began in self.interrupts
        self.seen.append((current().step, current().key, dies))
        if dies:
            raise KeyboardInterrupt


def chain(nodes: Sequence[Node], case: Case, steps: Steps[dict[str, int]], at: str) -> Steps[dict[str, int]]:
    """The chain of these nodes, which notes the keys."""
    for number, node in enumerate(nodes):
        name = f"{at}{number}"

        def step(_ex: dict[str, int], node: Node = node, name: str = name) -> None:
            case.call()
            if case.says_no(name, node.no):
                raise Broken

        def met(_ex: dict[str, int], node: Node = node, name: str = name) -> bool:
            case.call()
            return not case.says_no(name, node.no, node.raises)

        if node.kind == "do":
            steps = steps.do(name, step)
        elif node.kind == "loop":
            steps = steps.loop_until(name, met, chain(node.body, case, Steps(dict[str, int]), f"{name}_"))
        else:
            on = RetryPolicy(max_attempts=100, delay=0) if number % 2 else lambda _error: True
            steps = steps.retry(name, on, chain(node.body, case, Steps(dict[str, int]), f"{name}_"))
    return steps


def passes(nodes: Sequence[Node], case: Case, at: str, path: str, around: tuple[int, ...]) -> Iterator[Pass]:
    """The calls of these nodes as a reference makes them."""
    for number, node in enumerate(nodes):
        name = f"{at}{number}"
        if node.kind == "do":
            yield f"{path}{name}", around
            if case.says_no(name, node.no):
                raise Broken
        elif node.kind == "loop":
            turn = 0
            while True:
                yield from passes(node.body, case, f"{name}_", f"{path}{name}LoopUntil/steps/", (*around, turn))
                yield f"{path}{name}LoopUntil", (*around, turn)
                if not case.says_no(name, node.no, node.raises):
                    break
                turn += 1
        else:
            while True:
                try:
                    yield from passes(node.body, case, f"{name}_", f"{path}{name}Retry/", around)
                    break
                except Broken:
                    continue


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(NODES, min_size=1, max_size=3), st.frozensets(st.integers(1, 25), max_size=4))
def test_keys_are_equal_if_and_only_if_the_pass_is_the_same(nodes: list[Node], interrupts: frozenset[int]) -> None:
    tree = [Node("retry", body=tuple(nodes))]
    expected = list(passes(tree, Case(), "s", "", ()))
    case, store, clock = Case(interrupts), MemoryDriver(), VirtualClock()
    flow = chain(tree, case, named("f", dict[str, int]), "s").compile(max_crashes=100)
    for _ in range(len(interrupts) + 1):
        with Engine(store, clock=clock) as engine:  # another process takes over
            engine.register(flow)
            if not case.began:
                engine.start(flow, {}, id="r")
            with suppress(KeyboardInterrupt):
                engine.run_until_idle(advance=True)
    with Engine(store, clock=clock) as engine:
        assert engine.get("r").status() is Status.COMPLETED
    for (step, key, dies), (again, same, _) in zip(case.seen, case.seen[1:], strict=False):
        assert not dies or (step, key) == (again, same)
    made = [(step, key) for step, key, dies in case.seen if not dies]
    assert [step for step, _key in made] == [path for path, _around in expected]
    of_pass: dict[Pass, str] = {}
    for (_step, key), one in zip(made, expected, strict=True):
        assert of_pass.setdefault(one, key) == key
    assert len(set(of_pass.values())) == len(of_pass)
    first = [key for (_step, key), (_path, around) in zip(made, expected, strict=True) if not any(around)]
    assert all("#" not in key for key in first)  # as those of runs that were stored before loops counted


class Book:
    """Keys by step, and what is to happen in the step "pay"."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.fails = 0

    def pay(self, ex: dict[str, int]) -> None:
        self.keys.append(current().key.rpartition("/")[2])
        if self.fails:
            self.fails -= 1
            raise Broken
        ex["n"] += 1


def three(book: Book, **options: Any) -> Any:
    """A loop of three passes."""
    inner = Steps(dict[str, int]).do("pay", book.pay).wait_event("go", "go", int, lambda _ex, _payload: None)
    return named("f", dict[str, int]).loop_until("l", lambda ex: ex["n"] >= 3, inner).compile(**options)


@pytest.fixture
def book() -> Book:
    return Book()


def begun(engine: Engine, book: Book, **options: Any) -> Any:
    flow = three(book, **options)
    engine.register(flow)
    run = engine.start(flow, {"n": 0}, id="r")
    engine.run_until_idle()
    return run


def goes(engine: Engine, run: Any, number: int) -> None:
    run.publish("go", number, id=f"go-{number}")
    engine.run_until_idle(advance=True)


@pytest.mark.parametrize("redriven", [False, True])
def test_a_retry_of_the_run_a_redrive_and_a_pause_stay_in_the_pass(engine: Engine, book: Book, redriven: bool) -> None:
    run = begun(engine, book, retry=None if redriven else RetryPolicy(max_attempts=3, delay=1))
    book.fails = 2
    goes(engine, run, 1)
    while redriven and run.status() is Status.FAILED:
        run.redrive()
        engine.run_until_idle()
    run.pause()
    goes(engine, run, 2)
    run.resume()
    engine.run_until_idle()
    goes(engine, run, 3)
    assert run.status() is Status.COMPLETED
    assert book.keys == ["pay", "pay#1", "pay#1", "pay#1", "pay#2"]


def test_a_rewind_and_a_fork_go_back_to_the_pass(engine: Engine, book: Book) -> None:
    run = begun(engine, book)
    goes(engine, run, 1)
    revs = [one.rev for one in run.history()]
    goes(engine, run, 2)
    run.rewind(rev=revs[-1])
    engine.run_until_idle()
    goes(engine, run, 3)
    fork = run.fork(rev=revs[0])
    engine.run_until_idle()
    assert book.keys == ["pay", "pay#1", "pay#2", "pay#2", "pay"]
    assert (run.status(), fork.status()) == (Status.WAITING, Status.WAITING)


def test_a_run_that_is_moved_stays_in_the_passes_of_the_loops_around_both_positions(engine: Engine, book: Book) -> None:
    run = begun(engine, book)
    goes(engine, run, 1)
    engine.move("r", three(book), "start:f/lLoopUntil/steps")
    engine.run_until_idle()
    engine.move("r", three(book), "start:f")
    engine.run_until_idle()
    assert book.keys == ["pay", "pay#1", "pay#1", "pay"]


def test_a_run_of_an_older_version_counts_from_the_pass_in_which_it_is(store: Driver, clock: VirtualClock) -> None:
    book = Book()
    with Engine(store, clock=clock) as engine:
        run = begun(engine, book)
        assert not any(PASSES in one.transition.annotations for one in engine.iterate({}))
        goes(engine, run, 1)
        assert [one.transition.annotations.get(PASSES) for one in engine.iterate({})][-1] == "1"
    assert book.keys == ["pay", "pay#1"]


def test_a_condition_that_is_polled_keeps_its_key() -> None:
    keys: list[str] = []

    def ready() -> bool:
        keys.append(current().key)
        return len(keys) % 3 == 0

    inner = Steps(dict[str, int]).wait_for("ready", ready, every=1)
    flow = named("f", dict[str, int]).loop_until("l", lambda: len(keys) >= 6, inner).compile()
    with Engine(MemoryDriver(), clock=VirtualClock()) as engine:
        engine.register(flow)
        engine.start(flow, {}, id="r")
        engine.run_until_idle(advance=True)
    assert keys == ["f/r/lLoopUntil/steps/readyWaitFor"] * 3 + ["f/r/lLoopUntil/steps/readyWaitFor#1"] * 3


def test_the_key_of_a_transaction_belongs_to_its_pass(tmp_path: Any) -> None:
    keys: list[str] = []

    def write(ex: dict[str, int], connection: Any) -> None:
        keys.append(current().key.rpartition("/")[2])
        if len(keys) == 2:
            raise Broken
        connection.execute("create table if not exists t (x)")
        ex["n"] += 1

    inner = Steps(dict[str, int]).retry(
        "r", RetryPolicy(max_attempts=3, delay=0), Steps(dict[str, int]).do("write", write, transaction=True)
    )
    flow = named("f", dict[str, int]).loop_until("l", lambda ex: ex["n"] >= 3, inner).compile()
    with Engine(f"sqlite:///{tmp_path / 'runs.db'}") as engine:
        engine.register(flow)
        engine.start(flow, {"n": 0}, id="r")
        engine.run_until_idle()
    assert keys == ["write", "write#1", "write#1", "write#2"]
