"""Errors: each has a message and its base class, and survives pickling and copying."""

from __future__ import annotations

import copy
import pickle

import pytest

import stepflow
from stepflow import errors, named
from stepflow.errors import StepflowError
from stepflow.steps.return_value import BadReturn

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StepflowError)]
ARGUMENTS = {
    "DefinitionError": (["x/a: wrong", "x/b: wrong too"],),
    "RevMismatch": (["b", "a"],),
    "Duplicate": ("key", "run-1"),
    "RunEnded": ("run-1", "completed", "event 'paid' was not stored"),
    "RunFailed": ("run-1", "ValueError", "no", "Traceback"),
    "StepFailed": ("charge", "ValueError", "no", "Traceback"),
    "RemoteFailed": ("host", "ValueError", "no", "Traceback", False),
    "PauseRequested": (["run-1"], ["flow"]),
    "RunPaused": ("run-1", (3,)),
    "ReplayMismatch": ("flow", "run-1", "step 'a'", "step 'b'"),
}


def made(kind: type[StepflowError]) -> StepflowError:
    error = kind(*ARGUMENTS.get(kind.__name__, ("what is wrong",)))
    error.add_note("in step x/a")
    return error


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("way", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_pickling(kind, way):
    error = made(kind)
    back = way(error)
    assert type(back) is kind
    assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))
    assert str(back)


def test_the_handle_of_an_existing_run_stays_in_its_process():
    error = errors.RunExists("run 'a' was started before", run=open)
    assert error.run is open
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.run) == ("run 'a' was started before", None)


def test_errors_of_time_are_timeouts_for_everybody():
    for kind in (errors.ResultTimeout, errors.TimedOut):
        assert issubclass(kind, TimeoutError)
        assert str(kind("late")) == "late"


def test_the_door_has_every_error():
    inside = {"Duplicate", "CancelRequested", "PauseRequested", "RunPaused"}  # between a driver and its engine
    assert {kind.__name__ for kind in KINDS} - set(stepflow.__all__) == inside


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("no", "ValueError: no"),
        ("", "ValueError"),
        (" [in step f/a]", "ValueError [in step f/a]"),
        ("no [in step f/a]", "ValueError: no [in step f/a]"),
    ],
)
def test_an_error_without_a_message_has_no_colon(message, line):
    assert str(errors.RunFailed("r", "ValueError", message)) == f"run 'r' failed: {line}"
    assert str(errors.StepFailed("k", "ValueError", message)) == f"step 'k' failed: {line}"


def test_errors_inside_the_library_have_the_names_of_those_that_callers_can_import():
    class Handle:
        pass

    flow = named("returns", dict[str, int]).do("a", lambda order: {**order}).compile()
    with stepflow.Engine("memory://") as engine:
        engine.register(flow)
        run = engine.start(flow, {"a": 1})
        engine.run_until_idle()
        error = run.info().error
    assert (error.type, "which would be lost" in error.message) == ("DefinitionError", True)
    with pytest.raises(errors.DefinitionError) as unstorable:
        named("keeps", dict[str, Handle]).do("a", lambda order: None).compile()
    assert isinstance(unstorable.value, errors.CodecError)
    for one in (unstorable.value, BadReturn("a: wrong")):
        one.add_note("in step a")
        assert f"{type(one).__module__}.{type(one).__qualname__}" == "stepflow.errors.DefinitionError"
        back = pickle.loads(pickle.dumps(one))
        assert (type(back), back.problems, back.__notes__) == (errors.DefinitionError, one.problems, ["in step a"])
