"""The verbs pause, resume, fork and rewind."""

from __future__ import annotations

import pytest


def test_pause_and_resume_hold_back_runs_and_flows(stepflow, caplog):
    stepflow("start", "shop", '{"number": 1}', "--id", "one")
    stepflow("start", "shop", '{"number": 2}', "--id", "two")
    assert stepflow("pause", "one") == "one: paused, now paused\n"
    stepflow("worker", "shop", "--until-idle")
    assert stepflow.json("list", "--count") == {"order.v1": {"paused": 1, "waiting": 1}}
    assert "stepflow resume 'one' --store" in stepflow("explain", "one")
    assert stepflow.json("pause", "--flow", "order.v1") == {"flow": "order.v1", "paused": True}
    assert {run["id"] for run in stepflow.json("list", "--status", "paused")} == {"one", "two"}
    stepflow("pause", "--flow", "ordr.v1")
    assert "did you mean 'order.v1'?" in caplog.text
    assert "(" not in caplog.messages[-1]  # no call of Python: the command has a verb
    stepflow("resume", "--flow", "ordr.v1")
    (found,) = [one for one in stepflow.json("doctor") if one["what"] == "paused flows"]
    assert found["found"].startswith("order.v1 since ")
    assert stepflow("resume", "one") == "one: resumed, now paused\n"
    assert stepflow("resume", "--flow", "order.v1") == "flow order.v1: resumed\n"
    stepflow("worker", "shop", "--until-idle")
    assert stepflow.json("list", "--count") == {"order.v1": {"waiting": 2}}
    stepflow("cancel", "one")
    stepflow("pause", "one")
    assert (stepflow.code, "it cannot be paused or resumed" in stepflow.err) == (1, True)
    stepflow("resume")
    assert stepflow.code == 2


def test_fork_and_rewind_go_on_from_an_earlier_place(waiting):
    first, *_more, last = waiting.json("show", "order-1")["history"]
    assert waiting("fork", "order-1", "--rev", str(first["rev"]), "--id", "copy") == "copy\n"
    assert waiting.json("fork", "order-1", "--step", last["position"][0], "--id", "late") == {
        "id": "late",
        "of": "order-1",
    }
    assert waiting.json("show", "copy")["history"][0]["position"] == first["position"]
    assert waiting("rewind", "order-1", "--rev", str(first["rev"])) == "order-1: rewound, now queued\n"
    waiting("worker", "shop", "--until-idle")
    assert waiting.json("list", "--count") == {"order.v1": {"failed": 1, "waiting": 3}}
    waiting("rewind", "order-1", "--step", "nothing")
    assert (waiting.code, "never about to make step" in waiting.err) == (1, True)
    assert "its flow is not registered here: register it (`--flows MODULE` on the command line), or name" in waiting.err
    for verb in ("fork", "rewind"):
        for place in ([], ["--rev", "1", "--step", "x"]):
            waiting(verb, "order-1", *place)
            assert (waiting.code, "give --rev N or --step STEP" in waiting.err) == (2, True)


def test_fork_and_rewind_take_paths_of_steps_with_the_flows(waiting):
    known = ("--step", "order.v1/check", "--flows", "shop")
    assert waiting("fork", "order-1", *known[:2], "--id", "copy") == ""
    assert waiting.code == 1
    assert waiting("fork", "order-1", *known, "--id", "copy") == "copy\n"
    assert waiting.json("fork", "order-1", "order--1", "--suffix", "-b", *known)["count"] == 2
    assert waiting.json("fork", "--all", "--suffix", "-c", *known)["count"] == 5
    assert waiting("rewind", "order-1", "--step", "check", "--flows", "shop") == "order-1: rewound, now queued\n"
    assert waiting.json("rewind", "--id-prefix", "order-", *known, "--yes")["count"] == 4
    assert (
        waiting.json("show", "copy")["history"][0]["position"]
        == waiting.json("show", "order-1")["history"][0]["position"]
    )
    waiting("rewind", "order-1", "--step", "chek", "--flows", "shop")
    assert (waiting.code, "the most similar one is 'check'" in waiting.err) == (1, True)
    waiting("fork", "order-1", "--step", "check", "--flows", "none")
    assert (waiting.code, "there is no module 'none'" in waiting.err) == (2, True)


def test_a_run_that_is_paused_with_its_flow(waiting):
    waiting("pause", "order-1")
    waiting("pause", "--flow", "order.v1")
    said = waiting("explain", "order-1").splitlines()
    assert said[1].startswith("it was paused, no worker takes it: stepflow resume 'order-1'")
    assert said[2].startswith("flow 'order.v1' was paused, too: stepflow resume --flow 'order.v1'")
    assert waiting("resume", "order-1") == "order-1: resumed, now paused\n"
    assert waiting.err == "flow 'order.v1' is paused, too: stepflow resume --flow 'order.v1'\n"
    waiting("resume", "--flow", "order.v1")
    assert waiting("resume", "order-1") == "order-1: resumed, now waiting\n"
    assert waiting.err == ""


@pytest.mark.parametrize("verb", ["cancel", "redrive", "retry", "wake", "pause", "resume", "rewind", "move"])
def test_runs_are_told_in_one_way(waiting, verb):
    more = {"rewind": ["--step", "completed:order.v1/check"], "move": ["--to", "start:order.v1"]}.get(verb, [])
    first = ["shop"] if verb == "move" else []
    waiting(verb, *first, "order-1", "--status", "failed", *more)
    assert waiting.code == 2
    assert "ids and a filter were given, and only one of them may be: give the ids" in waiting.err
    waiting(verb, *first, "order-1", "--all", *more)
    assert waiting.code == 2
    assert "ids and --all were given, and only one of them may be: give the ids" in waiting.err
    waiting(verb, *first, *more)
    assert waiting.code == 2
    assert "were given" not in waiting.err


def test_pause_and_resume_by_filter(waiting):
    only = ("--flow", "order.v1", "--status", "waiting")
    assert waiting("pause", *only).splitlines() == ["order-1", "1 run: nothing was changed, add --yes"]
    assert waiting.json("pause", *only, "--yes")["ids"] == ["order-1"]
    assert waiting.json("list", "--count") == {"order.v1": {"failed": 1, "paused": 1}}
    assert waiting("resume", "--all", "--flow", "order.v1").splitlines()[-1] == "1 run: nothing was changed, add --yes"
    assert waiting("resume", "--all", "--yes") == "order-1\n1 run changed\n"
    assert waiting.json("list", "--count") == {"order.v1": {"failed": 1, "waiting": 1}}
    for args in (
        ["order-1", "--status", "waiting"],
        ["--all", "--flow", "a", "--flow", "b"],
        ["order-1", "--yes"],
        ["--yes", "--flow", "order.v1"],
        ["--yes"],
    ):
        waiting("pause", *args)
        assert waiting.code == 2, args
    assert waiting.json("doctor")[-1]["ok"] is not None
    assert waiting.json("list", "--count") == {"order.v1": {"failed": 1, "waiting": 1}}


def test_fork_and_rewind_by_filter(waiting):
    step = waiting.json("show", "order-1")["history"][0]["position"][0]
    first = ("--step", step, "--label", "tenant=acme")
    assert waiting("fork", *first, "--suffix", "-b").splitlines() == [
        "order-1 -> order-1-b",
        "1 run: nothing was changed, add --yes",
    ]
    assert waiting.json("list", "--count") == {"order.v1": {"failed": 1, "waiting": 1}}
    assert waiting("fork", *first, "--suffix", "-b", "--yes").splitlines()[-1] == "1 run changed"
    again = waiting.json("fork", *first, "--suffix", "-b", "--yes")
    assert (again["count"], sorted(again["skipped"])) == (0, ["order-1", "order-1-b"])
    assert waiting.json("fork", "order-1", "order--1", "--step", step, "--suffix", "-c")["count"] == 2
    assert waiting("rewind", "--step", step, "--status", "failed").splitlines()[0] == "order--1"
    assert waiting.json("list", "--status", "failed")[0]["id"] == "order--1"
    assert waiting.json("rewind", "--step", step, "--status", "failed", "--yes")["ids"] == ["order--1"]
    assert waiting.json("list", "--count") == {"order.v1": {"queued": 4, "waiting": 1}}
    never = waiting.json("rewind", "--step", "nothing", "--all")
    assert (never["count"], len(never["skipped"]), never["dry_run"]) == (0, 5, True)
    for args in (
        ["fork", "--all", "--step", step],
        ["fork", "order-1", "order--1", "--step", step],
        ["fork", "order-1", "--suffix", "-d"],
        ["fork", "--all", "--suffix", "-d", "--step", step, "--id", "x"],
        ["rewind", "--all", "--rev", "1"],
        ["rewind", "order-1", "--all", "--step", step],
    ):
        waiting(*args)
        assert waiting.code == 2, args


def test_resolve_takes_the_key_of_a_call_of_a_flow_function(stepflow, tmp_path):
    (tmp_path / "bank.py").write_text(
        "from stepflow import commit, current, flow, park\n\ndef pay() -> int:\n    raise KeyboardInterrupt\n\n"
        '@flow("pays")\ndef pays(ctx):\n'
        '    return commit(park(ctx, paid=str(current().once("pay", pay, at_most_once=True))))\n'
    )
    stepflow("start", "bank", "--id", "one")
    stepflow("worker", "bank", "--until-idle")
    stepflow("worker", "bank", "--until-idle")
    assert "the outcome of call 'pay' of 'pays' is unknown" in stepflow("explain", "one")
    assert stepflow("resolve", "one", "pay", "7") == "one: pay is resolved, now queued\n"
    stepflow("worker", "bank", "--until-idle")
    assert stepflow.json("show", "one")["info"]["status"] == "parked"
