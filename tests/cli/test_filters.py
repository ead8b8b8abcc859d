"""Filters on the command line: lists, cursors, and verbs on many runs that change nothing without --yes."""

from __future__ import annotations

import pytest


@pytest.fixture
def many(stepflow):
    """Runs of two tenants: two failed, three that wait."""
    for number in (-2, -1, 1, 2, 3):
        stepflow("start", "shop", f'{{"number": {number}}}', "--id", f"order-{number}", "--label", f"odd={number % 2}")
    stepflow("worker", "shop", "--until-idle")
    return stepflow


def ids(stepflow, *args):
    return sorted(run["id"] for run in stepflow.json("list", *args))


def test_list_takes_every_condition_of_a_filter(many):
    failed, waiting = ["order--1", "order--2"], ["order-1", "order-2", "order-3"]
    assert ids(many, "--error-type", "ValueError") == failed
    assert ids(many, "--error-text", "ValueError: ") == failed
    assert ids(many, "--error-text", "valueerror") == []
    assert ids(many, "--id-prefix", "order--") == failed
    assert ids(many, "--position", "order.v1/check", "--open") == waiting
    assert ids(many, "--position", "order.v1/check", "--ended") == ids(many, "--status", "failed") != []
    assert ids(many, "--position", "completed:order.v1/check", "--label", "odd=1") == ["order-1", "order-3"]
    assert ids(many, "--created-since", "1h", "--ended") == failed
    assert ids(many, "--created-until", "1h") == ids(many, "--updated-until", "2000-01-01T00:00+00:00") == []
    assert ids(many, "--updated-since", "2000-01-01T00:00+00:00", "--open") == waiting
    many("list", "--created-since", "yesterday")
    assert many.code == 2
    assert "give a time with its offset" in many.err
    many("list", "--id-prefix", "")
    assert (many.code, "id_prefix=''" in many.err) == (1, True)


def test_list_in_other_orders_with_a_cursor(many):
    by_id = [line.split("\t")[0] for line in many("list", "--order", "id", "--ascending").splitlines()]
    assert by_id == ["id", "order--1", "order--2", "order-1", "order-2", "order-3"]
    first = many("list", "--order", "updated", "--limit", "3").splitlines()
    more = first[-1].removeprefix("more: ").split()
    rest = many("list", "--order", "updated", "--limit", "3", *more).splitlines()
    assert sorted(line.split("\t")[0] for line in first[1:4] + rest[1:]) == sorted(by_id[1:])
    assert many("list", "--order", "id", "--limit", "2").splitlines()[-1] == "more: --after order-2"
    many.json("list", "--limit", "2")
    assert many.err == "more: --after order-2\n"
    assert many.json("list", "--order", "due") == []
    many("list", "--cursor", "nonsense")
    assert "`next` of a page" in many.err


def test_list_counts_the_runs_of_a_flow_and_of_statuses(many):
    everything = {"failed": 2, "waiting": 3}
    assert (
        many.json("list", "--count") == many.json("list", "--count", "--flow", "order.v1") == {"order.v1": everything}
    )
    assert many.json("list", "--count", "--status", "failed") == {"order.v1": {"failed": 2}}
    assert many.json("list", "--count", "--open", "--label", "odd=1") == {"order.v1": {"waiting": 2}}
    assert many.json("list", "--count", "--ended", "--status", "waiting") == {}
    assert many.json("list", "--count", "--flow", "ordr.v1") == {}
    assert "did you mean 'order.v1'?" in many.err
    for others in (["--error-type", "ValueError"], ["--flow", "stepflow.host"]):
        many("list", "--count", *others)
        assert (many.code, "--count" in many.err) == (2, True)


def test_a_verb_with_a_filter_lists_the_runs_and_changes_them_with_yes(many):
    out = many("cancel", "--status", "waiting", "--label", "odd=1")
    assert out.splitlines() == ["order-3", "order-1", "2 runs: nothing was changed, add --yes"]
    assert ids(many, "--status", "cancelled") == []
    assert many("cancel", "--status", "waiting", "--label", "odd=1", "--yes").splitlines()[-1] == "2 runs changed"
    assert ids(many, "--status", "cancelled") == ["order-1", "order-3"]
    done = many.json("redrive", "--error-type", "ValueError", "--yes")
    assert done == {"count": 2, "ids": ["order--1", "order--2"], "skipped": {}, "dry_run": False}
    assert ids(many, "--status", "queued") == ["order--1", "order--2"]
    assert many("retry", "--all").splitlines() == ["0 runs: nothing was changed, add --yes"]
    assert many("wake", "--all").splitlines() == ["0 runs, 1 skipped: nothing was changed, add --yes"]
    assert "skipped: order-2: run 'order-2' waits for event 'order.approved'" in many.err
    assert many("wake", "order--1") == ""
    assert "is queued" in many.err


def test_publish_to_the_runs_of_a_filter(many):
    args = ("publish", "order.approved", '"Ada"', "--flow", "order.v1", "--id", "once")
    assert many(*args).splitlines()[-1] == "3 runs: nothing was changed, add --yes"
    assert many(*args, "--yes").splitlines()[-1] == "3 runs changed"
    many("worker", "shop", "--until-idle")
    assert ids(many, "--status", "completed") == ["order-1", "order-2", "order-3"]
    assert many("publish", "--all", "x").splitlines() == ["0 runs: nothing was changed, add --yes"]


def test_a_payload_that_does_not_fit_is_refused_with_the_flows(many):
    typed = ("order.approved", "7", "--flows", "shop")
    many("publish", "order-1", *typed)
    assert (many.code, "event 'order.approved' of flow 'order.v1'" in many.err, "expected str" in many.err) == (
        1,
        True,
        True,
    )
    assert many("publish", *typed, "--all").splitlines() == ["0 runs, 3 skipped: nothing was changed, add --yes"]
    assert many.json("show", "order-1")["info"]["unread"] == {}
    many("publish", "order-1", "order.approved", "7")  # the wait tells the type
    assert (many.code, "give a text" in many.err) == (1, True)
    many("publish", "order-1", "order.approved")
    assert (many.code, "null does not fit" in many.err, "without PAYLOAD null is published" in many.err) == (
        1,
        True,
        True,
    )
    assert many.json("show", "order-1")["info"]["unread"] == {}
    assert (
        many("publish", "order-2", "order.approved", '"Ada"', "--flows", "shop")
        == "order-2: order.approved is published\n"
    )


ASKING = """
from attrs import define
from stepflow import Context, workflow

@define
class Answer:
    approved: bool
    amount: int = 0

@workflow("asks.v1")
def asks(wf: Context) -> int:
    return wf.wait_for_event("answer", "answered", Answer).amount
"""


def test_a_payload_that_a_workflow_does_not_wait_for_is_refused_without_its_code(stepflow, tmp_path):
    (tmp_path / "asking.py").write_text(ASKING)
    for run_id in ("a", "b"):
        stepflow("start", "asking", "--id", run_id)
    stepflow("worker", "asking", "--until-idle")
    why = 'amount: "much" does not fit: give a whole number'
    for flows in ((), ("--flows", "shop"), ("--flows", "asking")):
        assert stepflow("publish", "a", "answered", '{"approved": true, "amount": "much"}', *flows) == ""
        assert (stepflow.code, why in stepflow.err) == (1, True)
        many = ("publish", "answered", '{"approved": true, "amount": "much"}', "--flow", "asks.v1", *flows)
        assert stepflow(*many, "--yes") == "0 runs changed, 2 skipped\n"
        assert why in stepflow.err
    assert stepflow("publish", "a", "answered", '{"approved": true, "amount": 7}') == "a: answered is published\n"
    assert stepflow.err == ""
    stepflow("worker", "asking", "--until-idle")
    assert stepflow.json("show", "a")["exchange"] == 7
    for flows in ((), ("--flows", "asking")):
        assert stepflow("publish", "b", "anwsered", "1", *flows) == "b: anwsered is published\n"
        assert "waits for event 'answered': did you mean that?" in stepflow.err
    stepflow("publish", "b", "elsewhere", "1")
    assert stepflow.err == ""
    assert stepflow.json("show", "b")["info"]["unread"] == {"anwsered": 2, "elsewhere": 1}


def test_a_misspelt_event_is_stored_with_a_warning_if_the_flow_is_known(many, caplog):
    assert many("publish", "order-1", "order.aproved", '"Ada"') == "order-1: order.aproved is published\n"
    assert caplog.messages == []
    many("publish", "order-1", "order.aproved", '"Ada"', "--flows", "shop")
    (warning,) = caplog.messages
    assert warning.startswith("run order-1: event 'order.aproved' is published, but flow 'order.v1' waits for no event")
    assert many.json("show", "order-1")["info"]["unread"] == {"order.aproved": 2}


def test_move(many):
    args = ("move", "shop", "--position", "completed:order.v1/check", "--to", "start:order.v1")
    assert many(*args).splitlines()[-1] == "3 runs: nothing was changed, add --yes"
    assert many(*args, "--yes").splitlines()[-1] == "3 runs changed"
    assert ids(many, "--status", "queued") == ["order-1", "order-2", "order-3"]
    many("move", "shop", "order-1", "--to", "completed:order.v1/chek")
    assert (many.code, "completed:order.v1/check" in many.err) == (1, True)
    many("move", "shop", "--to", "start:order.v1")
    assert many.code == 2
    every = ("move", "shop", "--to", "completed:order.v1/check", "--all")
    assert many(*every).splitlines()[-1] == "3 runs: nothing was changed, add --yes"
    assert many(*every, "--yes").splitlines()[-1] == "3 runs changed"


@pytest.mark.parametrize(
    "args",
    [
        ["cancel"],
        ["cancel", "order-1", "--all"],
        ["retry", "order-1", "--status", "failed"],
        ["wake", "--all", "--flow", "order.v1"],
        ["publish", "order-1"],
        ["publish", "order-1", "e", "1", "--flow", "x"],
        ["publish", "order-1", "e", "no json"],
    ],
)
def test_what_cannot_be_meant_is_wrong_use(many, args):
    many(*args)
    assert many.code == 2


def test_a_verb_with_a_typing_error_is_told_the_right_one(stepflow):
    for typed, meant in (("lst", "list"), ("cancle", "cancel"), ("explian", "explain"), ("redirve", "redrive")):
        stepflow(typed)
        assert (stepflow.code, f"did you mean {meant!r}?" in stepflow.err) == (2, True)
    stepflow("schedule", "lsit")
    assert "did you mean 'list'?" in stepflow.err
