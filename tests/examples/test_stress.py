"""The stress example: a small form of it with a killed worker, and what its check finds in histories that are wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.house.pages import ROOT, run_script

STRESS = ROOT / "examples" / "stress"


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(STRESS))
    for name in ("flows", "report"):  # modules of the example; others of these names stay as they are
        spec = importlib.util.spec_from_file_location(name, STRESS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
    return module


def stress(folder, *words):
    command = [sys.executable, str(STRESS), "--test", "small", "--store", f"sqlite:///{folder}/s.db", *words]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=240, check=False)


def test_all_runs_complete_while_workers_are_killed(tmp_path):
    done = stress(
        tmp_path,
        "--chaos",  # one kill at the first effect; if others came soon, a slow machine would not have made progress by then
        "--period",
        "10",
        "--workers",
        "2",
        "--runs",
        "A=60,B=8",
        "--runs",
        "C=3,D=1",
        "--loops",
        "D=1000",
        "--sleep",
        "C=0.1,D=0.2",
    )
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "small.log").read_text()
    result = json.loads((tmp_path / "small.json").read_text())
    assert {kind: row["completed"] for kind, row in result["kinds"].items()} == {"A": 60, "B": 8, "C": 3, "D": 1}
    assert result["kills"] >= 1
    assert result["kinds"]["D"]["ms"]["min"] >= 200
    assert "0 faults" in done.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--runs", "E=1"], "'E=1' does not begin with one of A= B= C= D="),
        (["--runs", "A=x"], "'A=x': invalid literal for int() with base 10: 'x'; write e.g. A=100,B=10"),
        (["worker", "--test", ""], "a worker needs the --test of its generator"),
        (["--chaos", "--workers", "0"], "give --workers 1 or more"),
        ([], "test 'small' was made before"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(tmp_path, words, why):
    (tmp_path / "small.effects").write_text("" if words else "r\tcpu/v1\t1\tw\n")
    given = ["--test", "small", "--store", f"sqlite:///{tmp_path}/s.db", *words]
    done = run_script(STRESS / "__main__.py", tmp_path, *given)
    assert done.returncode == 2
    assert why in done.stderr


ONCE = ["r cpu/v1 1 w", "r confirm/v1 2 w"]
HISTORIES = {
    "nothing was repeated": (ONCE, ["1", "2"], ""),
    "the process was killed in the step": (["r cpu/v1 0 dead", *ONCE], ["1", "2"], ""),
    "the process was not killed": (
        ["r cpu/v1 0 other", *ONCE],
        ["1", "2"],
        "w repeats cpu/v1 of other, which was not killed",
    ),
    "the process repeats its own call": (["r cpu/v1 0 w", *ONCE], ["1", "2"], "repeats cpu/v1 of w"),
    "the result was durable": (
        ["r cpu/v1 0 dead", "r confirm/v1 3 dead", *ONCE],
        ["1", "2"],
        "whose result was durable",
    ),
    "the journal has another result": (ONCE, ["1", "3"], "its journal has ['1', '3'], the steps made ['1', '2']"),
    "a step was never called": (ONCE[:1], ["1", "2"], "the steps made ['1']"),
    "it did not complete": (ONCE, None, "it did not complete"),
    "nothing is known of it": ([*ONCE, "q cpu/v1 1 w"], ["1", "2"], "q: it was never started"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_check_finds_what_must_not_happen(report, name):
    lines, marks, expected = HISTORIES[name]
    done = None if marks is None else report.Done("A", 1, marks)
    found = report.faults([report.Effect(*line.split()) for line in lines], {"r": done}, {"dead"})
    assert (expected in found[0]) if expected else not found, found
