"""The benchmark itself works: every probe of our own finds its steps, the table and the bars come out. No figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import report
from tests.bench.bars import BARS, Bar, Verdict, judge
from tests.bench.probe import MARK, ROOT, ProbeFailed, Sampler, call, run
from tests.bench.rows import ROWS

OWN = [row for row in ROWS.values() if not row.needs and row.name != "import"]


@pytest.mark.parametrize("row", OWN, ids=lambda row: row.name)
def test_every_probe_of_our_own_finds_what_it_counted(
    row: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params: dict[str, Any] = {**row.how, row.size: 3}
    if row.beside:
        params["template"] = str(tmp_path / "sleepers.db")
        call("ours:sleepers", tmp_path, {"runs": 5, "target": params["template"]})
    if row.name == "waiting":
        params["warm"] = 2
    call(row.probe, tmp_path, params)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix(MARK))
    assert figures["steps"] == figures["expected"] > 0
    assert isinstance(figures["value"], float)


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    found = tmp_path / "bench.json"
    options = ["--only", "raw.64.full,async.64", "--scale", "0.001", "--pairs", "1", "--dir", str(tmp_path)]
    command = [sys.executable, "-m", "tests.bench", *options, "--json", str(found)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(found.read_text())
    assert set(document["rows"]) == {"raw.64.full", "async.64"}
    assert [bar["against"] for bar in document["bars"]] == ["raw.64.full"]
    for text in (document["machine"]["CPU"], ROWS["async.64"].label, BARS[0].text):
        assert text in done.stdout
    assert not list(tmp_path.glob("stepflow-bench-*")), "the stores are left behind"


def test_a_peer_that_is_missing_is_listed_as_such(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, 1.0)
    missing = Bar("two", "async.1", 2, ("dbos.1",))
    sampler.failed["dbos.1"] = "not installed"
    verdict = judge(missing, sampler, 3, print)
    assert (verdict.figure, verdict.passed) == (None, None)
    assert "not installed" in "\n".join(report.table(["dbos.1"], sampler))
    assert "not measured" in "\n".join(report.verdicts("bar", [verdict]))


def test_steps_that_are_not_found_afterwards_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProbeFailed, match="1 of 2 steps"):
        run("test_bench:lossy", tmp_path, {})


def lossy(folder: Path) -> dict[str, Any]:
    """A probe that lost a step."""
    return {"value": 1.0, "steps": 1, "expected": 2}


def test_a_bar_compares_as_it_says() -> None:
    above, below = Bar("fast", "async.64", 10), Bar("light", "import", 150, at_most=True)
    assert Verdict(above, 10.0, "", (10.0,)).passed
    assert not Verdict(above, 9.9, "", (9.9,)).passed
    assert Verdict(below, 150.0, "", (150.0,)).passed
    assert not Verdict(below, 150.1, "", (150.1,)).passed


def test_the_ratio_of_a_bar_is_the_median_of_its_pairs(tmp_path: Path) -> None:
    class Scripted(Sampler):
        def sample(self, row: Any) -> float:
            value = figures[row.name].pop(0)
            self.samples.setdefault(row.name, []).append({"value": value})
            return value

    figures = {"raw.64.full": [100.0, 100.0, 200.0, 100.0], "async.64": [50.0, 40.0, 90.0]}
    sampler = Scripted(tmp_path, 1.0)
    sampler.sample(ROWS["raw.64.full"])
    verdict = judge(BARS[0], sampler, 3, lambda _: None)
    assert verdict.pairs == (0.5, 0.2, 0.9)
    assert verdict.figure == 0.5
    assert verdict.against == "raw.64.full"
