"""Verbs on the URL of a server: each change is in the audit of the server, before it begins and with its outcome, as those of the operator's API are."""

from __future__ import annotations

from typing import get_args

import httpx2
import pytest

from stepflow import AsyncRun, MemoryDriver, NotFound, StoreError
from stepflow.drivers.http import HttpDriver
from stepflow.drivers.http.client import ServerClient
from stepflow.drivers.port.notes import OUTCOMES, VERBS, ChangeNote
from stepflow.drivers.registry import driver_for
from stepflow.errors import Full, ReadOnly
from stepflow.server.errors import Code
from stepflow.server.operator_api.api import BY_NAME
from tests.http.served import LIMIT_S, Served

STEP = "completed:order.v1/check"
FLOW = {"flow": "order.v1"}
CALLS = [  # arguments, and what is in the audit of them: verb, target, outcome, arguments, result
    (["pause", "order-1"], [("pause_run", "order-1", "done", {}, {})]),
    (["resume", "order-1"], [("resume_run", "order-1", "done", {}, {})]),
    (["pause", "--flow", "order.v1"], [("pause_flow", "order.v1", "done", {}, {})]),
    (["resume", "--flow", "order.v1"], [("resume_flow", "order.v1", "done", {}, {})]),
    (["publish", "order-1", "other", '"secret"', "--id", "1"], [("publish_event", "order-1", "done", {"event": "other", "event_id": "1"}, {})]),
    (["publish", "order-1", "order.approved", "7", "--flows", "shop"], [("publish_event", "order-1", "failed_precondition", {"event": "order.approved"}, {})]),
    (["publish", "other", "--all"], []),
    (["publish", "other", "--all", "--yes"], [("publish_to_runs", "", "done", {"filter": {}, "event": "other"}, {"count": 1, "ids": ["order-1"]})]),
    (["publish-topic", "news", '"secret"'], [("publish_topic", "news", "done", {}, {})]),
    (["wake", "order-1"], [("wake_run", "order-1", "failed_precondition", {}, {})]),
    (["fork", "order-1", "--step", STEP, "--id", "copy"], [("fork_run", "order-1", "done", {"step": STEP}, {"id": "copy"})]),
    (["fork", "order-1", "--step", STEP, "--suffix", "-b"], [("fork_runs", "", "done", {"ids": ["order-1"], "step": STEP, "suffix": "-b"}, {"count": 1, "ids": ["order-1"]})]),
    (["rewind", "order-1", "--step", STEP], [("rewind_run", "order-1", "done", {"step": STEP}, {})]),
    (["move", "shop", "copy", "--to", "start:order.v1", "--yes"], [("move_runs", "", "done", {"ids": ["copy"], "flow": "order.v1", "to": "start:order.v1"}, {"count": 1, "ids": ["copy"]})]),
    (["resolve", "order-1", "x"], [("resolve_call", "order-1", "failed_precondition", {"step": "x"}, {})]),
    (["cancel", "copy", "gone"], [("cancel_run", "copy", "done", {}, {}), ("cancel_run", "gone", "not_found", {}, {})]),
    (["cancel", "--flow", "order.v1", "--id-prefix", "order-1-"], []),
    (["cancel", "--flow", "order.v1", "--id-prefix", "order-1-", "--yes"], [("cancel_runs", "", "done", {"filter": {**FLOW, "id_prefix": "order-1-"}}, {"count": 1, "ids": ["order-1-b"]})]),
    (["retry", "order--1"], [("redrive_run", "order--1", "done", {}, {})]),
    (["start", "shop", '{"number": 5}', "--id", "five"], [("start_run", "five", "done", FLOW, {})]),
    (["start", "shop", '{"number": 6}', "--id", "five"], [("start_run", "five", "already_exists", FLOW, {})]),
    (["run", "shop", '{"number": -7}', "--id", "seven"], [("start_run", "seven", "done", FLOW, {})]),
    (["start", "shop", '{"number": "secret"}', "--id", "eight"], [("start_run", "eight", "failed_precondition", FLOW, {})]),
    (["run", "shop", '"secret"'], [("start_run", "", "failed_precondition", FLOW, {})]),
    (["schedule", "pause", "none"], [("pause_schedule", "none", "not_found", {}, {})]),
    (["prune", "--older-than", "0s"], [("prune", "", "done", {"older_than": "PT0S"}, {"count": 4})]),
    (["list"], []), (["show", "order-1"], []), (["explain", "order-1"], []), (["doctor"], []),
    (["worker", "shop", "--until-idle"], []),
]  # fmt: skip
OWN = {"publish_topic", "prune"}  # the API has no such operation


@pytest.fixture
def served(stepflow):
    """A server on the file of the command's store."""
    served = Served("sqlite:///shop.db")
    yield served
    served.close()


def entries(served, **facts):
    headers = {"authorization": f"Bearer {served.token}"}
    address = f"http://{served.place}/api/v1/audit"
    answer = httpx2.get(address, params={"limit": 1000, **facts}, headers=headers, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["entries"]))


def test_each_change_is_in_the_audit(waiting, served):
    for args, expected in CALLS:
        before = len(entries(served))
        waiting(*args, "--store", served.url)
        told = entries(served)[before:]
        found = [(one["verb"], one["target"], one["outcome"], one["arguments"], one["result"]) for one in told]
        assert found == expected, (args, waiting.err)
        assert all((one["via"], one["who"], one["namespace"]) == ("cli", "local", "") for one in told)
        assert all(one["at"] <= one["ended"] for one in told)
        assert all(one["verb"] in OWN or one["kind"] == BY_NAME[one["verb"]].kind for one in told)
    assert len(entries(served)) == sum(len(expected) for _args, expected in CALLS)
    everything = str(entries(served))
    assert "secret" not in everything
    assert "expected str" not in everything  # the text of a payload that does not fit may have it
    refused = [one for one in entries(served) if one["outcome"] not in ("begun", "done", "cancelled")]
    assert refused
    assert all(one["message"] for one in refused)
    (gone,) = entries(served, target="gone")
    assert "'gone'" in gone["message"]
    assert [one["target"] for one in entries(served, kind="topic")] == ["news"]


@pytest.mark.parametrize(
    ("args", "hint"),
    [(["--verb", "redrive"], "Did you mean 'redrive_run'?"), (["--verb", "cancel-run"], "Did you mean 'cancel_run'?"), (["--outcome", "refused"], "'permission_denied'"), (["--outcome", "doen"], "Did you mean 'done'?")],
)  # fmt: skip
def test_what_no_entry_can_have_is_refused(waiting, served, args, hint):
    for store in ([], ["--store", served.url]):
        waiting("audit", *args, *store)
        assert (waiting.code, hint in waiting.err) == (2, True)
    headers = {"authorization": f"Bearer {served.token}"}
    params = {args[0][2:]: args[1]}
    answer = httpx2.get(f"http://{served.place}/api/v1/audit", params=params, headers=headers, timeout=LIMIT_S)
    assert (answer.status_code, hint.split("'")[1] in answer.text) == (400, True)


def test_the_names_are_those_of_the_server():
    assert set(VERBS) == {name for name, one in BY_NAME.items() if one.scope != "read"} | OWN
    assert set(OUTCOMES) == {*get_args(Code), "begun", "done"}


def test_the_result_says_how_many_were_skipped(waiting, served):
    waiting("wake", "--all", "--yes", "--store", served.url)
    headers = {"authorization": f"Bearer {served.token}"}
    body = {"filter": {}, "dry_run": False}
    answer = httpx2.post(f"http://{served.place}/api/v1/runs/wake", json=body, headers=headers, timeout=LIMIT_S)
    assert answer.status_code == 200, answer.text
    assert [one["result"] for one in entries(served)] == [{"count": 0, "ids": [], "skipped": 1}] * 2


def test_without_a_server_nothing_is_told(waiting):
    assert driver_for("sqlite:///shop.db").note_change("", ChangeNote("cancel_run", "run", "x")) is None
    assert MemoryDriver().note_change("", ChangeNote("cancel_run", "run", "x")) is None
    waiting("cancel", "order-1")
    assert {run["id"] for run in waiting.json("list", "--namespace", "stepflow.audit")} == set()


def test_a_change_is_begun_until_its_end_is_told(served):
    driver = HttpDriver(served.url)
    end = driver.note_change("b", ChangeNote("cancel_run", "run", "x"))
    (begun,) = entries(served, namespace="b")
    assert (begun["outcome"], begun["ended"], begun["namespace"]) == ("begun", None, "b")
    end(NotFound("there is no run 'x'"), {})
    (ended,) = entries(served, namespace="b")
    assert (ended["outcome"], ended["message"]) == ("not_found", "there is no run 'x'")
    assert (ended["at"], ended["ended"] is None) == (begun["at"], False)
    driver.note_change("", ChangeNote("cancel_run", "run", "y"))(KeyboardInterrupt(), {})
    assert [(one["target"], one["outcome"]) for one in entries(served)] == [("y", "cancelled")]
    for error, code in ((ReadOnly("?mode=ro"), "failed_precondition"), (Full("no space"), "resource_exhausted")):
        driver.note_change("c", ChangeNote("cancel_run", "run", "z"))(error, {})
        assert [(one["outcome"], one["message"]) for one in entries(served, namespace="c", outcome=code)] == [
            (code, str(error))
        ]


def test_requests_that_are_sent_again_make_one_entry(served, monkeypatch):
    driver, call = HttpDriver(served.url), type(driver_for(served.url)).note_change.__globals__["ServerClient"].call

    def twice(client, method, arguments, **options):
        call(client, method, arguments, **options)
        return call(client, method, arguments, **options)

    monkeypatch.setattr("stepflow.drivers.http.client.ServerClient.call", twice)
    driver.note_change("", ChangeNote("cancel_runs", "runs"))(None, {"count": 3})
    (entry,) = entries(served)
    assert (entry["outcome"], entry["result"]) == ("done", {"count": 3})


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "store\0"}, {"verb": "Cancel run"}, {"arguments": {"a": "x" * (1 << 20)}}, {"target": 7}, {"id": "short"}, {"namespace": "stepflow.audit"}],
)  # fmt: skip
def test_a_note_that_cannot_be_meant_is_refused(served, wrong):
    client = HttpDriver(served.url).maintenance("")._client
    note = {"id": "0" * 32, "namespace": "", "verb": "cancel_run", "kind": "run", "target": "x", "arguments": {}}
    with pytest.raises(StoreError):
        client.call("begin_note", note | wrong)
    assert entries(served) == []
    with pytest.raises(StoreError, match="the audit has no entry"):
        client.call("end_note", {"id": "0" * 32, "result": {}})


def test_the_verb_lists_the_entries_on_the_server_and_on_its_store(waiting, served):
    for run_id in ("order-1", "gone"):
        waiting("pause", run_id, "--store", served.url)
    waiting("start", "shop", '{"number": "secret"}', "--id", "x", "--store", served.url)
    waiting("resume", "order-1", "--namespace", "b", "--store", served.url)
    by_server = waiting.json("audit", "--store", served.url)
    assert by_server == list(reversed(entries(served)))
    assert waiting.json("audit") == by_server
    assert [(one["verb"], one["target"], one["outcome"]) for one in by_server] == [
        ("start_run", "x", "failed_precondition"),
        ("pause_run", "gone", "not_found"),
        ("pause_run", "order-1", "done"),
    ]
    assert waiting.json("audit", "--target", "gone", "--kind", "run", "--who", "local") == by_server[1:2]
    assert waiting.json("audit", "--outcome", "begun", "--verb", "pause_run") == []
    assert [one["target"] for one in waiting.json("audit", "--namespace", "b")] == ["order-1"]
    first = waiting.json("audit", "--limit", "2")
    assert first == by_server[:2]
    assert waiting.json("audit", "--limit", "2", "--cursor", waiting.err.split()[-1]) == by_server[2:]
    assert "pause_run" in waiting("audit", "--target", "gone")


def test_entries_are_found_on_the_server_and_on_its_store_by_one_rule(waiting, served, monkeypatch):
    odd, long = "new\nline", "x" * 512
    for run_id in (odd, long):
        waiting("pause", run_id, "--store", served.url)
    waiting("cancel", "--flow", "order.v1", "--yes", "--store", served.url)
    driver_for(served.url).note_change("", ChangeNote("pause_flow", "flow", "w" * 600))(None, {})
    found = {}
    for name, verbs in (
        (odd, ["pause_run"]),
        (long, ["pause_run"]),
        ("order-1", ["cancel_runs"]),
        ("w" * 600, ["pause_flow"]),
    ):
        found[name] = waiting.json("audit", "--target", name, "--store", served.url)
        assert waiting.json("audit", "--target", name) == found[name]
        assert [one["verb"] for one in found[name]] == verbs

    read = AsyncRun.exchange

    async def pruned(run):
        if run.id in gone:
            raise NotFound(f"no run {run.id!r}")
        return await read(run)

    gone = {run["id"] for run in waiting.json("list", "--namespace", "stepflow.audit")[:1]}
    monkeypatch.setattr(AsyncRun, "exchange", pruned)
    assert [one["verb"] for one in waiting.json("audit")] == ["cancel_runs", "pause_run", "pause_run"]


def test_a_start_with_a_wrong_input_is_refused_for_it_also_when_the_server_takes_no_entry(waiting, tmp_path):
    waiting("start", "shop", '"secret"', "--store", "http://localhost:1/path")
    assert "does not fit flow" in waiting.err
    waiting("start", "shop", '"secret"', "--store", f"sqlite:///{tmp_path}/new.db")
    assert "does not fit flow" in waiting.err
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize("wrong", [{"facts": {"run": "x"}}, {"facts": {"who": 7}}, {"limit": 0}, {"limit": 1001}, {"namespace": "stepflow.audit"}])  # fmt: skip
def test_a_list_that_cannot_be_meant_is_refused(served, wrong):
    client = ServerClient(served.url)
    with pytest.raises(StoreError, match=r"40[03]"):
        client.call("list_notes", {"namespace": "", "facts": {}, "limit": 5, "cursor": None} | wrong)
    client.close()
