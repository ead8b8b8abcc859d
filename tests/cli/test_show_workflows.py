"""What `show` tells of the values of a workflow, of its end, and of the step that failed."""

from __future__ import annotations

DOUBLE = """
from stepflow import Context, workflow

@workflow("double")
def double(wf: Context, number: int) -> int:
    return 2 * number
"""


def test_show_tells_the_input_of_a_workflow_and_then_its_result(stepflow, tmp_path):
    (tmp_path / "numbered.py").write_text(DOUBLE)
    stepflow("start", "numbered", "4", "--id", "twice")
    shown = stepflow("show", "twice")
    assert "\ninput     4\n" in shown
    assert "exchange" not in shown
    stepflow("worker", "numbered", "--until-idle")
    shown = stepflow("show", "twice")
    assert "\ninput     4\nresult    8\n" in shown
    assert "exchange" not in shown


def test_show_tells_that_there_are_older_records(stepflow, tmp_path):
    (tmp_path / "numbered.py").write_text(DOUBLE)
    stepflow("start", "numbered", "4", "--id", "twice")
    assert "records" not in stepflow("show", "twice")
    stepflow("worker", "numbered", "--until-idle")
    assert "\n\nthe newest 1 records; a larger --limit shows older ones\nrev\tat\t" in stepflow(
        "show", "twice", "--limit", "1"
    )
    assert "records" not in stepflow("show", "twice", "--limit", "2")


def test_show_tells_when_a_run_ends_at_the_latest_and_which_step_failed(stepflow, tmp_path):
    (tmp_path / "numbered.py").write_text(DOUBLE)
    stepflow("start", "numbered", "4", "--id", "twice", "--run-timeout", "1h")
    assert "\nends by   20" in stepflow("show", "twice")
    stepflow("start", "shop", '{"number": -1}', "--id", "order--1")
    stepflow("worker", "shop", "--until-idle")
    (line,) = [line for line in stepflow("show", "order--1").splitlines() if line.startswith("failed step")]
    assert line.removeprefix("failed step").startswith(" ")
