"""The scripts, strategies and reference interpreter that `stepflow.testing` ships."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import Phase, find, given, settings

from stepflow.testing.reference import interpret
from stepflow.testing.script import Boom, Item, Script, chain_of
from stepflow.testing.strategies import names, positions, scripts

NO_HYPOTHESIS = """
import sys
sys.modules["hypothesis"] = None
import stepflow.testing, stepflow.testing.script, stepflow.testing.reference
try:
    import stepflow.testing.strategies
except ImportError as error:
    print(error)
"""


def test_without_hypothesis_only_the_strategies_are_missing_and_say_what_to_install():
    done = subprocess.run([sys.executable, "-c", NO_HYPOTHESIS], capture_output=True, text=True, check=True)
    assert done.stdout == 'stepflow.testing.strategies needs Hypothesis: pip install "stepflow[testing]"\n'


def test_a_script_does_what_it_says():
    exchange: dict[str, Any] = {"calls": []}
    wait = Item("wait_for", "w", fails=1, until=2)
    with pytest.raises(Boom, match="w"):
        wait.call(exchange)
    assert [wait.call(exchange) for _ in range(3)] == [False, True, True]
    case = Item("case", "c", until=2)
    assert [case.call(exchange) for _ in range(4)] == [False, True, False, True]
    group = Item("retry", "r", answers=("yes", "no", "raise"))
    assert [group.call(exchange, Boom()) for _ in range(2)] == [True, False]
    with pytest.raises(Boom, match="handler r"):
        group.call(exchange, Boom())
    assert exchange["calls"] == ["wait_for w"] * 4 + ["case c"] * 4 + ["retry r"] * 3


def test_the_reference_by_hand():
    inner = (Item("do", "a"), Item("do", "b", fails=1))
    script = (Item("retry", "r", attempts=2, inner=inner), Item("wait_for", "w", until=2))
    exchange: dict[str, Any] = {"calls": []}
    assert [list(position) for position in interpret(script, "s", exchange)] == [
        ["start:s"],
        ["completed:s/rRetry/a"],
        ["start:s/rRetry", "attempt:2:s/rRetry"],
        ["completed:s/rRetry/a", "attempt:2:s/rRetry"],
        ["completed:s/rRetry/b"],
        ["start:s/wWaitFor"],
        ["completed:s/wWaitFor"],
    ]
    assert exchange["calls"] == ["do a", "do b", "do a", "do b", "wait_for w", "wait_for w"]


@settings(max_examples=100, deadline=None)
@given(scripts(sync=None))
def test_every_script_compiles(script: Script):
    chain_of(script).compile()


@pytest.mark.parametrize("kind", ["do", "wait_for", "steps", "case", "retry", "loop_until"])
def test_the_strategy_makes_every_kind(kind):
    quick = settings(max_examples=300, phases=[Phase.generate], database=None)
    found = find(scripts(), lambda script: any(item.kind == kind for item in script), settings=quick)
    assert kind in {item.kind for item in found}


def test_the_strategy_can_leave_retries_and_async_out():
    @settings(max_examples=50, deadline=None)
    @given(scripts(retries=False, sync=False, fails=0))
    def check(script: Script) -> None:
        todo = list(script)
        while todo:
            item = todo.pop()
            assert (item.kind != "retry", item.sync, item.fails) == (True, False, 0)
            todo += item.inner

    check()


@given(names(), positions())
def test_names_are_legal_and_positions_are_lists_of_strings(name: str, position: list[str]):
    assert name.strip()
    assert not set(name) & set(":/")
    assert all(isinstance(text, str) for text in position)
