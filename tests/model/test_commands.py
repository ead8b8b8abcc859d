"""A command refuses wrong arguments when it is made, in the line that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from stepflow import (
    Execute,
    GetData,
    GetDelayedStates,
    GetStateByID,
    GetStateByLabels,
    GetStates,
    Noop,
    Stack,
    StateCtx,
    StepflowError,
    StoreData,
    Unstack,
    commit,
    delay,
    park,
    transit,
)
from stepflow.model.commands import CommitCommand, Park, Transit

CTX: Any = StateCtx("s")
HUGE = 2**70
NAIVE: Any = datetime(2020, 1, 1)  # noqa: DTZ001 - that is the mistake
REFUSED: dict[str, tuple[Callable[..., Any], list[Any], str]] = {
    "nothing to commit": (commit, [], "no commands to commit"),
    "no command in a commit": (commit, [None], "None is no command"),
    "a class in a commit": (commit, [Noop], "<class .*Noop'> is no command"),
    "a list in a commit": (commit, [[park(CTX)]], "is no command"),
    "a State in a commit": (commit, [CTX], "is no command"),
    "a function in a commit": (commit, [park(CTX), park], "function park .* is no command"),
    "a commit in a commit": (commit, [commit(park(CTX))], "commit command not allowed inside another commit"),
    "execute in a commit": (commit, [Execute(CTX)], "execute command not allowed inside commit"),
    "get states in a commit": (commit, [GetStates()], "get states command not allowed inside commit"),
    "delays in a commit": (commit, [GetDelayedStates()], "get delayed states command not allowed inside commit"),
    "the class of commits": (CommitCommand, [()], "no commands to commit"),
    "transit of a text": (transit, ["s", "f"], "'s' is no StateCtx"),
    "transit to no flow": (transit, [CTX, ""], r"flow id empty: .*park\(ctx\) goes nowhere"),
    "transit to a number": (transit, [CTX, 5], "name the flow to go to by its text"),
    "transit to None": (transit, [CTX, None], "name the flow to go to by its text"),
    "transit to a NUL": (transit, [CTX, "a\0"], "flow's name: .*without NUL"),
    "transit to a long name": (transit, [CTX, "a" * 513], "at most 512 characters"),
    "half a character": (transit, [CTX, "\ud800"], "surrogate pair cannot be encoded as UTF-8"),
    "annotations in a list": (Transit, [CTX, "f", ["a"]], "annotations=.*give a dict of texts"),
    "park of None": (park, [None], "None is no StateCtx"),
    "annotation of a park": (Park, [CTX, {"a": 1}], "annotations: 'a': 1: keys and values must be texts"),
    "delay of a text": (delay, ["a", "x", 5], "'a' is no StateCtx"),
    "delay to no flow": (delay, [CTX, "", 1], r"flow id empty: delay\(ctx, to, when\)"),
    "delay to a number": (delay, [CTX, 5, 1], r"delay\(ctx, 5, when\): name the flow"),
    "delay to None": (delay, [CTX, None, 5], "name the flow"),
    "delay until a text": (delay, [CTX, "f", "soon"], "delay until 'soon': give seconds, a timedelta or an aware"),
    "delay without a zone": (delay, [CTX, "f", NAIVE], "delay until .*aware datetime"),
    "delay for ever": (delay, [CTX, "f", float("inf")], "delay until inf"),
    "delay until no number": (delay, [CTX, "f", float("nan")], "delay until nan"),
    "execute nothing": (Execute, [None], "None is no StateCtx"),
    "stack nothing": (Stack, [CTX, None, "x"], "None is no StateCtx"),
    "stack into nothing": (Stack, [None, CTX, "x"], "None is no StateCtx"),
    "stack without a name": (Stack, [CTX, CTX, ""], "stack annotation name empty"),
    "stack with a number": (Stack, [CTX, CTX, 5], "stack annotation 5: give the name"),
    "unstack a number": (Unstack, [1, CTX, "x"], "1 is no StateCtx"),
    "unstack without a name": (Unstack, [CTX, CTX, ""], "stack annotation name empty"),
    "store data of a number": (StoreData, [1, "x"], "1 is no StateCtx"),
    "store data without a name": (StoreData, [CTX, ""], "alias is empty"),
    "get data of a text": (GetData, ["a", "x"], "'a' is no StateCtx"),
    "get data by a number": (GetData, [CTX, 5], "alias=5: give the name"),
    "get no State": (GetStateByID, [None, "s"], "None is no StateCtx"),
    "get by no id": (GetStateByID, [CTX, ""], "id is empty: name the State to read"),
    "get by a number": (GetStateByID, [CTX, 5], "id=5: give a non-empty text"),
    "revision as text": (GetStateByID, [CTX, "s", "3"], "rev must be >= 0, not '3'"),
    "revision that is true": (GetStateByID, [CTX, "s", True], "rev must be >= 0, not True"),
    "huge revision": (GetStateByID, [CTX, "s", HUGE], "rev must be >= 0"),
    "get by no labels": (GetStateByLabels, [CTX, {}], "labels are empty"),
    "label of another type": (GetStateByLabels, [CTX, {"a": 1}], "keys and values must be texts"),
    "states by a label of another type": (GetStates, [({"a": 1},)], "keys and values must be texts"),
    "states from nowhere": (GetStates, [(), -2], "since_rev=-2"),
    "states since a text": (GetStates, [(), 0, "today"], "at='today': give an aware datetime"),
    "no limit of states": (GetStates, [(), 0, None, False, 0], "limit=0: give a whole number from 1 on"),
    "delays since no zone": (GetDelayedStates, [NAIVE], "it has no time zone"),
    "delays until no zone": (GetDelayedStates, [None, NAIVE], "it has no time zone"),
    "offset below zero": (GetDelayedStates, [None, None, -5], "offset=-5: give a whole number from 0 on"),
    "limit below zero": (GetDelayedStates, [None, None, 0, -5], "limit=-5: give a whole number from 0 on"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_argument_is_refused_at_the_call(what):
    command, arguments, told = REFUSED[what]
    with pytest.raises(StepflowError, match=told):
        command(*arguments)


def test_annotations_of_another_type_are_refused_at_the_call():
    for call in (lambda: transit(CTX, "f", a=1), lambda: park(CTX, a=None), lambda: delay(CTX, "f", 1, a=b"x")):
        with pytest.raises(StepflowError, match="keys and values must be texts"):
            call()


def test_what_a_state_contains_is_checked_when_the_command_is_executed():
    ctx = StateCtx("", {"a": 1})
    assert commit(transit(ctx, "f"), park(StateCtx("t"))).commands[0].ctx is ctx
