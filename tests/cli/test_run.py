"""The verbs `run` and `bench`: work from its start to its result in one command, and figures of a store."""

from __future__ import annotations

import pytest

FLOWS = """
from stepflow import Context, named, workflow

double = named("double", dict).do("double", lambda x: x.update(n=2 * x["n"])).compile()
broken = named("broken", dict).do("divide", lambda x: x.update(n=1 // x["n"])).compile()
waits = named("waits", dict).wait_event("w", "e", int, lambda x, n: None).compile()

@workflow("both")
def both(wf: Context, n: int) -> int:
    return wf.result("got", wf.start_child("child", double, {"n": n}))["n"]
"""


@pytest.fixture
def flows(stepflow, tmp_path):
    (tmp_path / "calc.py").write_text(FLOWS)
    return stepflow


def test_run_prints_the_result(flows):
    assert flows("run", "calc:double", '{"n": 21}', "--id", "a", "--label", "k=v") == '{"n":42}\n'
    assert flows.json("run", "calc:double", '{"n": 21}', "--id", "a") == {
        "id": "a",
        "flow": "double",
        "result": {"n": 42},
    }
    assert flows("run", "calc:both", "4") == "8\n"
    assert [run["labels"] for run in flows.json("list", "--id-prefix", "a")] == [{"k": "v"}]


def test_show_prints_revisions_and_calls_in_the_order_of_time(flows):
    flows("run", "calc:both", "4", "--id", "w")
    lines = [line.split("\t") for line in flows("show", "w").splitlines()]
    table = lines[lines.index(["rev", "at", "after", "position", "note"]) + 1 :]
    assert [row[3:] for row in table if not row[0]] == [["child child", "1"], ["result got", '{"n":8}']]
    assert [row[2] == "" for row in table] == [True] + [False] * (len(table) - 1)
    assert (table[0][3], table[-1][4]) == (flows.json("show", "w")["info"]["flow"], "completed")
    newest = flows("show", "w", "--limit", "2").splitlines()  # with a line which says that there are older ones
    assert len(newest) == len(lines) - len(table) + 1 + 2
    shown = flows.json("show", "w")["timeline"]
    assert [one["where"] for one in shown if one["seq"]] == ["child", "got"]
    assert all(one["after"].startswith("PT") for one in shown[1:])
    assert [one["at"] for one in shown] == sorted(one["at"] for one in shown)


def test_run_says_why_there_is_no_result(flows):
    flows("run", "calc:broken", '{"n": 0}', "--id", "b")
    assert (flows.code, "ZeroDivisionError" in flows.err) == (1, True)
    flows("run", "calc:waits", "{}", "--id", "w", "--timeout", "0.1s")
    assert (flows.code, "within 0.1 s" in flows.err) == (1, True)
    assert flows.json("show", "w")["info"]["status"] == "waiting"


def test_bench_measures_and_leaves_nothing(stepflow):
    figures = stepflow.json("bench", "--runs", "20")
    assert (figures["runs"], figures["steps"]) == (20, 200)
    assert figures["steps_per_second"] > 0 < figures["alone_steps_per_second"]
    lines = stepflow("bench", "--runs", "5", "--concurrency", "2").splitlines()
    assert lines[0].endswith("steps/s, 2 of 5 runs at a time")
    assert lines[1].endswith("steps/s, one run after another")
    assert "steps/s, 5 of 5 runs at a time" in stepflow("bench", "--runs", "5")
    assert stepflow.json("list") == []
