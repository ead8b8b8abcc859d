"""K1-K34 of the acceptance list: single nodes as the root of a machine, below the chain."""

from __future__ import annotations

import pytest

from stepflow.errors import DefinitionError
from stepflow.steps import Steps, named
from stepflow.steps.kinds.base import Scope
from stepflow.steps.kinds.case import Case
from stepflow.steps.kinds.do import Do
from stepflow.steps.kinds.loop_until import LoopUntil
from stepflow.steps.kinds.retry import Retry
from stepflow.steps.kinds.sequence import Child, Sequence
from stepflow.steps.kinds.wait_for import WaitFor
from stepflow.steps.values import CallTransition
from tests.steps.helpers import Core, Fail, history


def nothing() -> None:
    pass


def fail() -> None:
    raise Fail


class Calls:
    """Functions that count; `true_at(n)` is a condition that is true from its n-th call on."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def do(self, name: str = "func"):
        return lambda: self.log.append(name)

    def true_at(self, n: int, name: str = "condition"):
        def condition() -> bool:
            self.log.append(name)
            return self.log.count(name) >= n

        return condition


def test_k1_a_function_compiles():
    assert len(Core(Do(nothing)).table.transitions) == 1


def test_k2_a_root_function_completes_in_one_apply():
    calls = Calls()
    assert Core(Do(calls.do())).history() == ["completed:test"]
    assert calls.log == ["func"]


def test_k3_the_same_error_object_is_raised():
    error = Fail("x")

    def raising() -> None:
        raise error

    with pytest.raises(Fail) as caught:
        Core(Do(raising)).history()
    assert caught.value is error


def test_k4_is_completed():
    flow = named("test").do("x", nothing).compile()
    assert flow.is_completed(["completed:test"])
    for state in (None, [], ["wrong"], ["completed:test", "completed:test"], ["completed:test/x"], ["start:test"]):
        assert not flow.is_completed(state)
    for strange in ("completed:test", {"completed:test"}, {"completed:test": 1}, 7):
        assert not flow.is_completed(strange)  # type: ignore[arg-type]


def test_k5_k6_k7_scopes():
    root = Scope.root("parent")
    assert (root.path, root.start, root.completed) == ("parent", "start:parent", "completed:parent")
    child = root.child("child")
    assert (child.path, child.start) == ("parent/child", "start:parent/child")
    assert child.problems is root.problems


def test_k8_a_function_has_one_transition_that_calls_it():
    calls = Calls()
    (row,) = Core(Do(calls.do())).table.transitions
    assert isinstance(row, CallTransition)
    assert row.source == "start:test"
    assert [target.position for target in row.targets] == ["completed:test"]
    row.call(None)
    assert calls.log == ["func"]


def test_k9_an_error_passes_through_the_call():
    (row,) = Core(Do(fail)).table.rows
    with pytest.raises(Fail):
        row.call(None)


def test_k10_k14_nodes_take_the_scope_of_their_place():
    for node in (Do(nothing), Sequence()):
        (transition,) = node.expand(Scope.root("parent").child("test"))
        assert transition.source == "start:parent/test"  # type: ignore[union-attr]


def test_k11_an_empty_sequence_is_one_static_transition():
    core = Core(Sequence())
    assert [(t.source, core.destinations(t.source)) for t in core.table.transitions] == [
        ("start:test", [("completed:test", "static")])
    ]


def test_k12_a_sequence_of_two_functions_has_five_transitions():
    core = Core(Sequence((Child("a", Do(nothing)), Child("b", Do(nothing)))))
    assert [t.source for t in core.table.transitions] == [
        "start:test",
        "start:test/a",
        "completed:test/a",
        "start:test/b",
        "completed:test/b",
    ]


def test_k13_equal_names_are_refused_when_transitions_are_built():
    with pytest.raises(DefinitionError, match="test/duplicate: this name is used twice"):
        Core(Sequence((Child("duplicate", Do(nothing)), Child("duplicate", Do(nothing)))))


def test_k15_a_wait_may_stay_or_go_on():
    core = Core(WaitFor(lambda: True))
    assert len(core.table.transitions) == 1
    assert core.destinations("start:test") == [
        ("start:test", "WaitFor condition is not met"),
        ("completed:test", "WaitFor condition is met"),
    ]


def test_k16_k17_a_wait_answers_as_its_condition():
    calls = Calls()
    assert Core(WaitFor(calls.true_at(3))).history() == ["start:test", "start:test", "completed:test"]


@pytest.mark.parametrize("node", [WaitFor(fail), Case(fail, Sequence())])
def test_k18_k27_an_error_of_a_condition_passes_through(node):
    with pytest.raises(Fail):
        Core(node).history()


def test_k19_a_loop_around_a_function():
    core = Core(LoopUntil(lambda: True, Do(nothing)))
    assert [t.source for t in core.table.transitions] == ["start:test", "completed:test/steps", "start:test/steps"]
    assert core.destinations("completed:test/steps") == [
        ("start:test/steps", "LoopUntil condition is not met"),
        ("completed:test", "LoopUntil condition is met"),
    ]


@pytest.mark.parametrize(("rounds", "iterations"), [(1, 2), (3, 6)])
def test_k20_k21_a_root_loop(rounds, iterations):
    calls = Calls()
    seen = Core(LoopUntil(calls.true_at(rounds), Do(calls.do()))).history()
    assert len(seen) == iterations
    assert calls.log == ["func", "condition"] * rounds


def test_k22_an_error_in_the_body_of_a_loop_comes_at_the_first_apply():
    with pytest.raises(Fail):
        Core(LoopUntil(lambda: True, Do(fail))).machine.advance(None, None)


def test_k23_an_error_of_the_condition_of_a_loop_comes_at_the_second_apply():
    machine = Core(LoopUntil(fail, Do(nothing))).machine
    first = machine.advance(None, None)
    with pytest.raises(Fail):
        machine.advance([*first.state], None)


def test_k24_a_case_around_a_function():
    core = Core(Case(lambda: True, Do(nothing)))
    assert len(core.table.transitions) == 3
    assert core.destinations("start:test") == [
        ("start:test/steps", "Case condition is met"),
        ("completed:test", "Case condition is not met"),
    ]


def test_k25_a_true_root_case_takes_three_applies():
    calls = Calls()
    seen = Core(Case(calls.true_at(1), Do(calls.do()))).history()
    assert seen == ["start:test/steps", "completed:test/steps", "completed:test"]
    assert calls.log == ["condition", "func"]


def test_k26_a_false_root_case_takes_one():
    calls = Calls()
    assert Core(Case(calls.true_at(2), Do(calls.do()))).history() == ["completed:test"]
    assert calls.log == ["condition"]


def test_k28_a_retry_adds_no_transition_but_a_reason():
    flow = named("test").retry("r", lambda error: True, Steps().do("f", nothing)).compile()
    core = Core(Retry(lambda error: True, Do(nothing)))
    assert [t.source for t in core.table.transitions] == ["start:test"]
    edge = next(edge for edge in flow.transitions if edge.source == "start:test/rRetry/f")
    assert edge.destinations == (("completed:test/rRetry/f", "completed"), ("start:test/rRetry", "retry"))


def test_k29_a_function_that_fails_once_takes_two_applies():
    calls: list[int] = []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise Fail

    assert Core(Retry(lambda error: True, Do(fail_once))).history() == ["start:test", "completed:test"]
    assert len(calls) == 2


def test_k30_when_the_handler_says_no_the_original_error_comes_out():
    with pytest.raises(Fail):
        Core(Retry(lambda error: False, Do(fail))).history()


def test_k31_an_error_of_the_handler_wins():
    def handler(error: Exception) -> bool:
        raise KeyError("handler")

    with pytest.raises(KeyError) as caught:
        Core(Retry(handler, Do(fail))).history()
    assert isinstance(caught.value.__context__, Fail)


def test_k32_a_complex_workflow_takes_seven_applies():
    calls = Calls()
    func = calls.do()
    flow = (
        named("steps")
        .case("case", calls.true_at(1, "case-condition"), Steps().do("f", func))
        .loop_until("loop", calls.true_at(2, "loop-condition"), Steps().do("f", func))
        .compile()
    )
    assert len(history(flow)) == 7
    assert calls.log == ["case-condition", "func", "func", "loop-condition", "func", "loop-condition"]


def test_k33_a_handler_that_gives_up():
    asked: list[Exception] = []

    def twice(error: Exception) -> bool:
        asked.append(error)
        return len(asked) <= 2

    machine = Core(Retry(twice, Do(fail))).machine
    assert machine.advance(None, None).state == ("start:test",)
    assert machine.advance(["start:test"], None).state == ("start:test",)
    with pytest.raises(Fail):
        machine.advance(["start:test"], None)
    assert len(asked) == 3


def test_k34_a_wait_and_a_case():
    calls = Calls()
    flow = (
        named("test")
        .wait_for("wait", calls.true_at(3, "check"))
        .case("case", lambda: True, Steps().do("f", calls.do()))
        .compile()
    )
    assert len(history(flow)) == 6
    assert calls.log == ["check"] * 3 + ["func"]
