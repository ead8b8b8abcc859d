"""Every verb works on a real store, with text and with JSON output."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from opentelemetry.sdk.trace import TracerProvider

from stepflow import Engine, OpenTelemetry, named


def test_start_prints_the_id_and_is_idempotent(stepflow):
    assert stepflow("start", "shop:order_flow", '{"number": 1}', "--id", "order-1") == "order-1\n"
    assert stepflow("start", "shop", '{"number": 1, "approved_by": ""}', "--id", "order-1") == "order-1\n"
    assert stepflow.json("list", "--count") == {"order.v1": {"queued": 1}}


def test_start_takes_labels_a_time_and_a_priority(stepflow):
    options = ["--label", "a=1", "--label", "b=x=y", "--priority", "7", "--at", "2999-01-31T08:00+01:00"]
    options += ["--run-timeout", "2h"]
    assert stepflow.json("start", "shop", '{"number": 2}', "--id", "o", *options) == {"id": "o", "flow": "order.v1"}
    info = stepflow.json("show", "o")["info"]
    assert (info["labels"], info["priority"], info["status"]) == ({"a": "1", "b": "x=y"}, 7, "sleeping")
    assert (info["due"], info["ends_at"]) == ("2999-01-31T07:00:00Z", "2999-01-31T09:00:00Z")
    assert "its run_timeout is over at 2999-01-31T09:00:00Z: it fails if it" in stepflow("explain", "o")


def test_start_takes_limits_and_a_deduplication_key(stepflow):
    options = ["--limit", "tenant/acme=1", "--limit", "api=1/60s", "--dedup-key", "k", "--dedup-window", "1h"]
    assert stepflow("start", "shop", '{"number": 1}', "--id", "one", *options) == "one\n"
    assert stepflow("start", "shop", '{"number": 2}', *options) == "one\n"
    stepflow("start", "shop", '{"number": 2}', "--id", "two", *options[:4])
    api, acme = stepflow.json("show", "two")["info"]["limits"]
    assert (api["key"], api["rate"], api["per"]) == ("api", 1, 60.0)
    assert (acme["key"], acme["concurrency"], acme["rate"]) == ("tenant/acme", 1, None)
    stepflow("worker", "shop", "--until-idle")
    assert "at most 1 runs of 'api' begin within 60 s" in stepflow("explain", "two")


def test_worker_until_idle_prints_its_counts(stepflow):
    stepflow("start", "shop", '{"number": 1}')
    stepflow("start", "shop", '{"number": -1}')
    idle = stepflow.json("worker", "shop", "--until-idle")
    assert (idle["completed"], idle["failed"], idle["waiting"], idle["next_due"]) == (0, 1, 1, None)


def test_list_filters_by_flow_status_and_label(waiting):
    assert [run["id"] for run in waiting.json("list")] == ["order--1", "order-1"]
    assert [run["id"] for run in waiting.json("list", "--status", "failed")] == ["order--1"]
    assert [run["id"] for run in waiting.json("list", "--label", "tenant=acme")] == ["order-1"]
    assert waiting.json("list", "--flow", "other") == []
    assert [run["id"] for run in waiting.json("list", "--limit", "1", "--after", "order--1")] == ["order-1"]


def test_list_in_a_pipe_is_tab_separated_and_one_line_each(waiting):
    lines = waiting("list").splitlines()
    assert [line.split("\t")[0] for line in lines] == ["id", "order--1", "order-1"]
    assert lines[1].split("\t")[4].startswith("ValueError: no such order")
    assert lines[2].split("\t")[2:5] == ["waiting", "completed:order.v1/check", "event:order.approved"]


def test_list_says_when_there_is_more(waiting):
    assert waiting("list", "--limit", "1").splitlines()[-1] == "more: --after order--1"
    assert "more" not in waiting("list", "--limit", "3")


def test_show_has_the_facts_the_exchange_and_the_history(waiting):
    shown = waiting.json("show", "order-1")
    assert shown["exchange"] == {"number": 1, "approved_by": ""}
    assert shown["history"][0]["position"] == ["start:order.v1"]
    text = waiting("show", "order-1")
    assert "status    waiting\n" in text
    assert "labels    tenant=acme\n" in text


def test_publish_resumes_the_run_and_tail_prints_all_of_it(waiting):
    assert waiting("publish", "order-1", "order.approved", '"Ada"') == "order-1: order.approved is published\n"
    waiting("worker", "shop", "--until-idle")
    assert waiting.json("show", "order-1")["exchange"]["approved_by"] == "Ada"
    lines = waiting("tail", "order-1").splitlines()
    assert lines[-1].endswith("completed:order.v1  completed")
    assert len(lines) == len(waiting.json("show", "order-1")["history"])


def test_tail_without_following_returns_while_the_run_waits(waiting):
    assert "completed:order.v1/check" in waiting("tail", "order-1", "--no-follow")


def test_explain_names_the_command_that_moves_the_run(waiting):
    assert "stepflow publish 'order-1'" in waiting("explain", "order-1")
    assert "stepflow redrive 'order--1'" in waiting.json("explain", "order--1")["explanation"]


def test_show_and_explain_name_the_events_that_no_wait_has_taken(waiting):
    assert "unread" not in waiting("show", "order-1")
    for name in ("order.aproved", "order.aproved", "note"):
        waiting("publish", "order-1", name, '"Ada"')
    assert waiting.json("show", "order-1")["info"]["unread"] == {"order.aproved": 2, "note": 1}
    assert "unread    'note', 'order.aproved' (2)\n" in waiting("show", "order-1")
    assert "events that no wait has taken: 'note', 'order.aproved' (2)" in waiting("explain", "order-1")
    waiting("publish", "order-1", "order.approved", '"Ada"')
    waiting("worker", "shop", "--until-idle")
    assert "unread    'note', 'order.aproved' (2)\n" in waiting("show", "order-1")


def test_explain_tells_that_a_published_event_will_be_taken(waiting):
    for name in ("order.approved", "note"):
        waiting("publish", "order-1", name, '"Ada"')
    said = waiting("explain", "order-1")
    assert "events that it takes when it is advanced: 'order.approved'\n" in said
    assert "events that no wait has taken: 'note'\n" in said


def test_cancel_continues_after_an_unknown_run(waiting):
    out = waiting("cancel", "nobody", "order-1")
    assert (out, waiting.code) == ("order-1: cancel requested, now cancelled\n", 1)
    assert "no run 'nobody'" in waiting.err
    assert waiting.json("show", "order-1")["info"]["status"] == "cancelled"


def test_retry_redrives_failed_and_waiting_runs(waiting):
    assert waiting("retry", "order--1") == "order--1: resumed, now queued\n"
    assert waiting("retry", "order-1") == "order-1: resumed, now queued\n"
    assert waiting("retry", "order-1") == ""
    assert (waiting.code, "only a failed, blocked or waiting run can be redriven" in waiting.err) == (1, True)


def test_diagram_draws_the_flow_and_where_a_run_is(waiting):
    plain = waiting("diagram", "shop")
    placed = waiting("diagram", "shop", "--run", "order-1")
    assert "check" in plain
    assert plain != placed
    assert waiting("diagram", "shop", "--format", "mermaid").startswith("flowchart")
    assert waiting("diagram", "shop", "--format", "dot").startswith("digraph")
    assert waiting.json("diagram", "shop", "--run", "order-1")["position"] == ["completed:order.v1/check"]


def test_prune_keeps_young_and_open_runs(waiting):
    assert waiting("prune", "--older-than", "30d") == "0 runs deleted, 0 revisions\n"
    assert waiting.json("prune", "--older-than", "0s") == {"deleted": 1, "revisions": 2}
    assert [run["id"] for run in waiting.json("list")] == ["order-1"]


def test_prune_keeps_the_ids_of_the_runs_that_it_deletes(waiting):
    waiting("prune", "--older-than", "0s", "--keep-ids", "365d")
    waiting("start", "shop", '{"number": -1}', "--id", "order--1")
    assert (waiting.code, "(keep_ids=)" in waiting.err) == (1, True)


def test_values_that_are_encrypted_are_shown_with_the_keys_only(stepflow, tmp_path):
    (tmp_path / "keys.py").write_text("from stepflow import Fernet\nstages = [Fernet([b'A' * 43 + b'='])]\n")
    with_keys = ("--payload", "keys:stages")
    stepflow("start", "shop", '{"number": 1}', "--id", "order-1", *with_keys)
    stepflow("worker", "shop", "--until-idle", *with_keys)
    assert stepflow.json("show", "order-1", *with_keys)["exchange"]["number"] == 1
    assert "waiting" in stepflow("list")
    assert "payload stages" in stepflow("show", "order-1")
    stepflow("list", "--payload", "keys")
    assert (stepflow.code, "give the list of stages" in stepflow.err) == (2, True)


def test_doctor_looks_at_the_environment_and_the_store(waiting, monkeypatch):
    assert "2 runs" in waiting("doctor")
    assert waiting.code == 0
    monkeypatch.delenv("STEPFLOW_STORE")
    assert [finding["what"] for finding in waiting.json("doctor")] == ["python", "packages", "sqlite"]


def test_doctor_finds_a_broken_store(stepflow, tmp_path):
    (tmp_path / "shop.db").write_bytes(b"this is no database, but it is long enough to be looked at" * 99)
    assert "store\tattention" in stepflow("doctor")
    assert stepflow.code == 3


def test_namespaces_keep_runs_apart(stepflow):
    stepflow("start", "shop", '{"number": 1}', "--namespace", "test")
    assert stepflow.json("list") == []
    assert len(stepflow.json("list", "--namespace", "test")) == 1


@pytest.mark.parametrize(
    ("change", "verdict", "remedy"),
    [
        (("named", "named"), "ok", ""),
        (('do("check"', 'do("checks"'), "unknown", "most similar: completed:order.v1/checks"),
        (("    number: int\n", "    number: bytes\n    size: int\n"), "unreadable", "does not fit"),
    ],
)
def test_check_finds_runs_that_a_deploy_would_block(waiting, tmp_path, change, verdict, remedy):
    new = (tmp_path / "shop.py").read_text().replace(*change).replace("order.number < 0", "False")
    (tmp_path / "shop2.py").write_text(new)
    (row,) = waiting.json("check", "shop2")
    assert (row["runs"], row["verdict"], row["example"]) == (1, verdict, "order-1")
    assert remedy in row["remedy"]
    assert waiting.code == (0 if verdict == "ok" else 3)


@pytest.mark.parametrize(
    ("change", "verdict", "remedy"),
    [
        (
            ('"order.approved", str', '"approved", str'),
            "waits",
            "wait for event:order.approved; .* with event 'approved'",
        ),
        (("str, approve)", "str, approve, timeout=60)"), "waits", "go on with event 'order.approved'"),
        (('.wait_event("approval", "order.approved", str, approve)', ""), "waits", "go on with ship"),
        (
            ('"order.approved", str', '"order.approved", int'),
            "unreadable",
            "(id 'one'): the wait order.v1/approval cannot",
        ),
    ],
)
def test_check_compares_waits_and_stored_events(waiting, tmp_path, change, verdict, remedy):
    if verdict == "unreadable":
        waiting("publish", "order-1", "order.approved", '"Ada"', "--id", "one")
    new = (tmp_path / "shop.py").read_text().replace(*change).replace("order.number < 0", "False")
    (tmp_path / "shop2.py").write_text(new)
    (row,) = waiting.json("check", "shop2")
    assert (row["verdict"], row["example"]) == (verdict, "order-1")
    assert re.search(remedy, row["remedy"]) or remedy in row["remedy"]
    assert waiting.code == (3 if verdict == "unreadable" else 0)


def test_check_lists_open_runs_that_no_module_defines(waiting, tmp_path):
    (tmp_path / "other.py").write_text("from stepflow import named\nother = named('other').compile()\n")
    (row,) = waiting.json("check", "other")
    assert (row["flow"], row["runs"], row["verdict"]) == ("order.v1", 1, "elsewhere")
    assert "not defined here" in row["remedy"]
    assert waiting.code == 0
    (row,) = waiting.json("check", "other", "shop")
    assert (row["flow"], row["verdict"]) == ("order.v1", "ok")
    waiting("cancel", "order-1")
    assert waiting.json("check", "other") == []


def test_tail_prints_every_revision_of_a_long_run(stepflow, tmp_path):
    flow = "named('long.v1', dict).loop_until('end', lambda d: d['n'] == 150, Steps(dict).do('add', add)).compile()"
    code = f"from stepflow import Steps, named\ndef add(d): d['n'] += 1\nlong = {flow}\n"
    (tmp_path / "long.py").write_text(code)
    stepflow("start", "long", '{"n": 0}', "--id", "run-1")
    stepflow("worker", "long", "--until-idle")
    revisions = [int(line.split()[2]) for line in stepflow("tail", "run-1").splitlines()]
    assert len(revisions) > 300
    assert revisions == sorted(set(revisions))


def test_ended_runs_are_not_reported_as_cancelled(waiting):
    waiting("cancel", "order-1")
    out = waiting("cancel", "order-1", "order--1")
    assert out.splitlines() == [
        "order-1: has ended, nothing to cancel, now cancelled",
        "order--1: has ended, nothing to cancel, now failed",
    ]
    assert waiting.code == 0


def test_publish_to_a_run_that_can_not_go_on_is_refused(waiting):
    told = waiting("publish", "order--1", "order.approved", '"Ada"')
    assert told == "order--1: order.approved is published\n"  # a failed run takes it after a retry
    waiting("cancel", "order-1")
    waiting("publish", "order-1", "order.approved", '"Ada"')
    assert waiting.code == 1
    assert "run 'order-1' has ended, it is cancelled; event 'order.approved' was not stored" in waiting.err


EVERY_VERB = [
    ["worker", "shop", "--until-idle"],
    ["list"],
    ["list", "--count"],
    ["list", "--status", "paused"],
    ["show", "order-1"],
    ["tail", "order-1", "--no-follow"],
    ["explain", "order-1"],
    ["start", "shop", '{"number": 5}'],
    ["publish", "order-1", "order.approved", '"Ada"'],
    ["cancel", "order-1", "order--1"],
    ["retry", "order--1"],
    ["diagram", "shop"],
    ["diagram", "shop", "--run", "order-1"],
    ["check", "shop"],
    ["prune"],
    ["doctor"],
]


@pytest.mark.parametrize("args", EVERY_VERB, ids=" ".join)
def test_machines_get_json_and_nothing_else_from_every_verb(waiting, args):
    lines = waiting(*args, "--json").splitlines()
    assert (waiting.code, waiting.err) == (0, "")
    assert [json.loads(line) for line in lines] != []


@pytest.mark.parametrize("args", EVERY_VERB, ids=" ".join)
def test_no_verb_but_start_and_worker_makes_a_store(stepflow, tmp_path, args):
    stepflow(*args)
    made = (tmp_path / "shop.db").exists()
    assert made == (args[0] in ("start", "worker"))


def test_a_module_that_is_named_twice_is_one(waiting):
    assert waiting("worker", "shop", "shop:order_flow", "--until-idle").splitlines()[0].endswith(": order.v1")


def test_a_store_can_be_read_without_being_written(waiting):
    for args in (["list"], ["show", "order-1"], ["explain", "order-1"], ["tail", "order-1", "--no-follow"]):
        assert "order" in waiting(*args, "--store", "sqlite:///shop.db?mode=ro")
        assert waiting.code == 0


def test_a_users_text_does_not_speak_to_the_terminal(waiting):
    waiting("start", "shop", '{"number": 1, "approved_by": "\\u001b[31mred\\u0007"}', "--id", "esc\x1b[2J")
    for args in (["list"], ["show", "esc\x1b[2J"], ["explain", "esc\x1b[2J"], ["cancel", "esc\x1b[2J"]):
        out = waiting(*args)
        assert "esc" in out
        assert not set(out) & {"\x1b", "\x07"}


@pytest.mark.parametrize("run_id", ["order-1", "a b", "it's", "$HOME"])
def test_the_command_that_explain_names_does_what_it_says(stepflow, run_id):
    def named_command() -> list[str]:
        (line,) = [line for line in stepflow("explain", run_id).splitlines() if "stepflow " in line]
        command = line[line.index("stepflow ") :].strip("`")
        return [{"PAYLOAD": '"Ada"', "MODULE": "shop"}.get(word, word) for word in shlex.split(command)[1:]]

    stepflow("start", "shop", '{"number": -1}', "--id", run_id)
    assert named_command()[0] == "worker"
    stepflow(*named_command(), "--until-idle")
    assert stepflow.json("show", run_id)["info"]["status"] == "failed"
    assert named_command()[0] == "redrive"
    stepflow(*named_command())
    assert stepflow.json("show", run_id)["info"]["status"] == "queued"


def test_the_command_that_explain_names_publishes_the_event(waiting):
    line = waiting("explain", "order-1").splitlines()[1]
    words = shlex.split(line[line.index("stepflow ") :])
    waiting(*[{"PAYLOAD": '"Ada"'}.get(word, word) for word in words[1:]])
    waiting("worker", "shop", "--until-idle")
    assert waiting.json("show", "order-1")["exchange"]["approved_by"] == "Ada"


def test_worker_until_idle_counts_blocked_runs_and_exits_with_3(stepflow, tmp_path):
    stepflow("start", "shop", '{"number": 1}', "--id", "one")
    (tmp_path / "later.py").write_text(
        'from stepflow import named\n\nflow = named("order.v1", int).do("pay", lambda n: None).compile()\n'
    )
    out = stepflow("worker", "later", "--until-idle")
    assert "idle: 0 completed, 0 failed, 0 waiting, 1 blocked\n" in out
    assert "see stepflow list --status blocked" in out
    assert stepflow.code == 3
    assert [run["id"] for run in stepflow.json("list", "--status", "blocked")] == ["one"]


@pytest.mark.parametrize(("how", "status"), [(["5"], "completed"), ([], "completed"), (["--failed", "no"], "failed")])
def test_resolve_says_how_an_interrupted_call_ended(stepflow, tmp_path, how, status):
    (tmp_path / "bank.py").write_text(
        "from stepflow import named\n\ndef pay(n):\n    raise KeyboardInterrupt\n\n"
        'flow = named("bank.v1", int).do("pay", pay, at_most_once=True).compile()\n'
    )
    stepflow("start", "bank", "1", "--id", "one")
    stepflow("worker", "bank", "--until-idle")
    stepflow("worker", "bank", "--until-idle")
    assert stepflow.code == 3
    assert stepflow.json("show", "one")["info"]["blocked"]["kind"] == "unknown_outcome"
    assert "stepflow resolve 'one'" in stepflow("explain", "one")
    stepflow("retry", "one")
    assert (stepflow.code, "the outcome of step 'pay' is unknown" in stepflow.err) == (1, True)
    stepflow("resolve", "one", "other")
    assert (stepflow.code, "name that one" in stepflow.err) == (1, True)
    assert stepflow("resolve", "one", "pay", *how) == "one: pay is resolved, now queued\n"
    stepflow("worker", "bank", "--until-idle")
    shown = stepflow.json("show", "one")
    assert (shown["info"]["status"], shown["exchange"]) == (status, 5 if how == ["5"] else 1)


def test_show_prints_the_traceback(waiting):
    text = waiting("show", "order--1")
    assert 'shop.py", line' in text
    assert "ValueError: no such\norder" in text


def test_show_has_the_id_of_the_trace(stepflow):
    with Engine("sqlite:///shop.db", instrument=OpenTelemetry(TracerProvider())) as engine:
        run = engine.start(named("other", dict).do("a", lambda it: None).compile(), {})
        trace_id = run.info().trace_id
    assert len(trace_id) == 32
    assert f"trace     {trace_id}\n" in stepflow("show", run.id)
    assert stepflow.json("show", run.id)["info"]["trace_id"] == trace_id
