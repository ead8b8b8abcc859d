"""What the scope of a token allows verbs on the URL of a server, and what the audit has of a refusal."""

from __future__ import annotations

import pytest

from stepflow import Engine, ReadOnly, StoreError, named
from stepflow.drivers.http.client import CODES, ServerClient
from stepflow.drivers.port.commit import Commit, Owner
from stepflow.drivers.port.notes import ChangeNote
from stepflow.drivers.port.pauses import FlowPause
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleEdit
from stepflow.drivers.registry import driver_for
from tests.http.served import Served

NOW = 1_700_000_000_000_000


@pytest.fixture
def served(stepflow):
    """A server on the file of the command's store, with a token for each scope."""
    served = Served("sqlite:///shop.db", ("read", "operate", "admin"))
    yield served
    served.close()


CALLS = [  # refused to operate, and the target of the entry
    (["pause", "--flow", "order.v1"], "order.v1"),
    (["resume", "--flow", "order.v1"], "order.v1"),
    (["schedule", "delete", "nightly"], "nightly"),
    (["prune", "--older-than", "0s"], ""),
]


@pytest.mark.parametrize(("args", "target"), CALLS, ids=lambda one: " ".join(one) if isinstance(one, list) else "")
def test_what_needs_the_scope_admin_is_refused_and_the_audit_has_its_code(waiting, served, args, target):
    nightly = named("nightly.v1", int).do("abs", abs).compile()
    with Engine("sqlite:///shop.db") as engine:
        engine.schedule("nightly", nightly, 1, cron="0 3 * * *")
    waiting(*args, "--store", served.url_of("operate"))
    assert waiting.code == 1
    assert "'admin'" in waiting.err
    (entry,) = waiting.json("audit", "--store", served.url_of("read"))
    assert (entry["who"], entry["target"], entry["outcome"]) == ("operate", target, "permission_denied")
    assert "'admin'" in entry["message"]
    waiting(*args, "--store", served.url_of("admin"))
    assert waiting.json("audit", "--store", served.url_of("read"))[0]["outcome"] == "done"


def test_single_runs_need_the_scope_operate(waiting, served):
    waiting("pause", "order-1", "--store", served.url_of("read"))
    assert waiting.code == 1
    assert "'operate'" in waiting.err
    waiting("pause", "order-1", "--store", served.url_of("operate"))


def test_others_of_a_group_are_applied(served):
    store = driver_for(served.url_of("operate")).connect("", Owner("a", "host", 1), NOW)
    made = Commit(schedule=ScheduleChange("s", 0, NOW, "{}"))
    for refused in (
        FlowPause("f", True, NOW),
        FlowPause("f", False, NOW),
        ScheduleChange("s", 1),
        ScheduleEdit("s", NOW),
    ):
        name = {FlowPause: "flow_pause", ScheduleChange: "schedule", ScheduleEdit: "edit"}[type(refused)]
        before, error, after = store.commit([made, Commit(**{name: refused}), made], NOW)
        assert isinstance(error, ReadOnly)
        assert error.code == "permission_denied"
        assert not isinstance(before, ReadOnly)
        assert not isinstance(after, ReadOnly)
    assert isinstance(store.commit([Commit(flow_pause=FlowPause("f", True, NOW))], NOW)[0], ReadOnly)
    store.close()


@pytest.mark.parametrize("status", [*CODES, 500, 502])
def test_the_outcome_is_the_code_of_the_answer(served, status):
    client = ServerClient(served.url_of("operate"))
    answer = type("Answer", (), {"status": status, "data": b"<html>"})()
    with pytest.raises(StoreError) as raised:
        client._value(answer)
    end = driver_for(served.url_of("operate")).note_change("", ChangeNote("cancel_run", "run", "x"))
    end(raised.value, {})
    (entry,) = driver_for(served.url_of("read")).notes("", {}, 10, None).entries
    assert entry["outcome"] == CODES.get(status, "unknown")
