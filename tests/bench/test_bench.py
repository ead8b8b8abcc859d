"""The benchmark itself works: every probe of our own finds its steps, the table and the bars come out. No figures."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytest
from attrs import evolve

from stepflow.drivers.port.commit import Committed
from stepflow.drivers.port.delays import Delay, DelayQuery, delay_key
from stepflow.drivers.port.queries import HistoryQuery, TallyQuery
from stepflow.engine.client.client import planned_start
from tests.bench import arrivals, beside, fill, report
from tests.bench.__main__ import chosen
from tests.bench.bars import ALSO, BARS, Bar, Verdict, judge
from tests.bench.beside import Comparison
from tests.bench.ours import flow_of
from tests.bench.places import Places
from tests.bench.probe import MARK, ROOT, ProbeFailed, Refused, Sampler, call, run
from tests.bench.row import Fill, Row
from tests.bench.rows import ROWS
from tests.bench.target import Target, target

pytestmark = pytest.mark.usefixtures("forking")

YEAR = 365 * 24 * 3600 * 1_000_000
STEP = 1000
PEERS = {
    "dbos", "burr", "langgraph-checkpoint-sqlite", "transitions", "python-statemachine", "pgqueuer", "dura", "unhinged",
    "absurd-sdk", "pgtask",
}  # fmt: skip
OWN = {
    (
        row.probe,
        row.store,
        *map(row.how.get, ("moving", "batch", "fenced", "lone", "rate")),
        row.how.get("style") == "do",
    ): row
    for row in ROWS.values()
    if not PEERS.intersection(row.needs) and row.name != "import"
}
SMALL: dict[str, dict[str, Any]] = {
    "pruning:measure": {"revisions": 3},
    "footprint:waiting": {"warm": 2},
    "keys:measure": {"keys": 100},
    "plans:measure": {"claims": 1},
    "plans:beside_a_snapshot": {"claims": 1},
    "crash:measure": {"rounds": 1, "settle": False},
    "short:reopen": {"rounds": 2, "behind": 3},
    "short:across": {"pause_s": 0.0},
    "workflows:resume": {"rounds": 2, "behind": 3},
    "workflows:mapped": {"items": 3},
    "load:measure": {"rate": 1000.0},
    "served:pages": {"seconds": 0.0},
}
"""What makes a probe small, besides its size."""
SCALE = 0.00002  # of the stores that are filled
LATE = 10**16  # microseconds UTC, behind all that is filled


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """Places of this module, in a folder that the server's user can enter."""
    with TemporaryDirectory(prefix="stepflow-bench-") as base:
        found = Places(Path(base), _fill, durable=False)
        yield found
        found.close()


def _fill(params: dict[str, Any]) -> dict[str, Any]:
    facts = fill.make(Path(), **params)
    assert facts["steps"] == facts["expected"] > 0
    return facts


@pytest.mark.parametrize("row", OWN.values(), ids=lambda row: row.name)
def test_every_probe_of_our_own_finds_what_it_counted(
    row: Row, places: Places, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params: dict[str, Any] = {**row.params(0), row.size: 3, **SMALL.get(row.probe, {})}
    with places.of(row, SCALE, tmp_path) if row.store else nullcontext({}) as where:
        call(row.probe, tmp_path, {**params, **where})
    figures = json.loads(capsys.readouterr().out.splitlines()[-1].removeprefix(MARK))
    if "refused" in figures:
        pytest.skip(figures["refused"])
    assert figures["steps"] == figures["expected"] > 0
    assert isinstance(figures["value"], float)


def _seen(at: Target, now: int) -> tuple[Any, ...]:
    """What a worker sees of a store a year later: every claim in order, and how many runs have which status."""
    flow = flow_of("async")
    with at.session(now) as session:
        tally = {(row.flow, row.status): row.count for row in session.read(TallyQuery(now))}
        claims = session.claim({flow.name: flow.definition}, now + YEAR, 1000)
        first = claims[0].row.due
        return tally, [(claim.fence.id, claim.row.priority, claim.row.due // STEP - first // STEP) for claim in claims]


@pytest.mark.parametrize("kind", ["asleep", "finished", "delays", "mixed"])
def test_a_store_that_was_filled_by_copies_is_what_stepflow_writes(kind: str, places: Places, tmp_path: Path) -> None:
    """RocksDB is filled by stepflow itself."""
    row = Row("", "", "", "", 1, fill=Fill(kind, 1_000_000), shared=True)
    seen = {}
    for store in ("sqlite", "postgres", "rocksdb"):
        with places.of(evolve(row, store=store), SCALE, tmp_path) as where:
            at = target(store, where["place"])
            assert at.driver.maintenance("").check() == []
            seen[store] = _seen(at, where["now"])
            assert at.driver.maintenance("").check() == []
    assert seen["sqlite"] == seen["rocksdb"]
    assert seen["postgres"] == seen["rocksdb"]


@pytest.mark.parametrize("kind", ["asleep", "finished", "delays", "mixed"])
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_no_number_of_a_copy_is_given_again(kind: str, store: str, places: Places, tmp_path: Path) -> None:
    row = Row("", "", "", "", 1, store=store, fill=Fill(kind, 1_000_000))  # a place that no other test sees
    with places.of(row, SCALE, tmp_path) as where, target(store, where["place"]).session() as session:
        found = [revision.state for revision in session.read(HistoryQuery(limit=10_000))]
        delays = session.read(DelayQuery(LATE, limit=1000))
        ids = {state.id for state in found} | {delay_key(delay.state.id, delay.offset) for delay in delays}
        epochs = [record.row.epoch for record in session.load(sorted(ids)) if record and record.row]
        last = max((delay.offset for delay in delays), default=0)
        creation = planned_start(flow_of("async"), None, f"new-{last}", {}, 0, -1, 0)
        (made,) = session.commit([creation._replace(delays=(Delay(found[0], LATE),))], 0)
        (claim,) = session.claim({"bench": "x"}, 1, 1)
    assert isinstance(made, Committed)
    assert (made.revs, made.offsets) == ((max(state.rev for state in found) + 1,), (last + 1,))
    assert claim.fence.id == f"new-{last}"
    assert claim.fence.epoch > max(epochs)


def test_bars_and_rows_agree() -> None:
    for bar in (*BARS, *ALSO):
        assert {bar.row, *bar.against} <= set(ROWS)


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


def test_a_row_whose_package_is_missing_is_listed_as_such(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, 1.0)
    row = evolve(ROWS["postgres.64"], needs=("psycopg", "no-such-distribution"))
    assert sampler.sample(row) is None
    assert sampler.failed == {"postgres.64": "not installed"}


def test_long_rows_are_measured_only_when_they_are_asked_for() -> None:
    long = {name for name, row in ROWS.items() if row.long}
    assert long
    assert long.isdisjoint(chosen(None, long=False))
    assert set(chosen(None, long=True)) == set(ROWS)
    assert chosen("raw.64.*, apply", long=False) == ["raw.64.full", "raw.64.normal", "apply"]


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


def test_the_best_row_of_a_bar_that_must_stay_below_is_the_lowest(tmp_path: Path) -> None:
    class Scripted(Sampler):
        def sample(self, row: Any) -> float:
            return {"reopen.dura": 10.0, "reopen.sqlite": 5.0}[row.name]

    sampler = Scripted(tmp_path, 1.0)
    sampler.samples = {"reopen.dura": [{"value": 10.0}], "reopen.unhinged": [{"value": 20.0}]}
    bar = Bar("soon", "reopen.sqlite", 0.8, ("reopen.unhinged", "reopen.dura"), at_most=True)
    verdict = judge(bar, sampler, 1, lambda _: None)
    assert (verdict.against, verdict.figure, verdict.passed) == ("reopen.dura", 0.5, True)


def test_a_paced_row_gets_its_share_of_what_the_other_row_reached(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path, 1.0)
    sampler.samples["load.sqlite.max"] = [{"value": 100.0}, {"value": 300.0}, {"value": 200.0}]
    assert sampler._pace(ROWS["load.sqlite.20"]) == {"rate": 40.0}
    sampler.failed["dbos-load.sqlite.max"] = "not installed"
    assert sampler.sample(evolve(ROWS["load.sqlite.half"], needs=())) is None
    assert sampler.failed["load.sqlite.half"] == "no rate: dbos-load.sqlite.max not installed"


def test_latency_begins_when_a_client_was_meant_to_arrive() -> None:
    """The first client holds the loop up; the second one arrives meanwhile, and its wait counts."""

    async def serve(n: int) -> None:
        while n == 0 and perf_counter() - began < 0.05:
            pass

    began = perf_counter()
    spans = asyncio.run(arrivals.offer([0.0, 0.01], serve, 10))
    assert min(spans) > 0.03


def test_more_than_a_system_can_do_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serve(_: int) -> None:
        await asyncio.Event().wait()

    spans = asyncio.run(arrivals.offer(arrivals.poisson(1e6, 100), serve, 10))
    assert spans == []
    monkeypatch.setattr(arrivals, "BACKLOG_S", 0.0)
    assert asyncio.run(arrivals.offer([0.0], serve, 10)) == []
    assert arrivals.figures(50.0, 100, [0.1] * 20, 2.0) == {"refused": "50 runs/s are more than it can do: 10.0 runs/s"}
    with pytest.raises(Refused, match="more than it can do"):
        run("test_bench:overloaded", tmp_path, {})


def test_a_client_that_fails_is_no_overload() -> None:
    async def serve(n: int) -> None:
        if n == 1:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(arrivals.offer([0.0, 0.0, 0.001], serve, 10))


def overloaded(folder: Path) -> dict[str, Any]:
    """A probe of something that cannot do what it is asked for."""
    return {"refused": "50 runs/s are more than it can do", "steps": 0, "expected": 1}


def test_an_earlier_commit_is_measured_with_its_own_code_and_what_it_lacks_is_added(tmp_path: Path) -> None:
    source, git = (
        tmp_path / "source",
        ["git", "-c", "user.name=a", "-c", "user.email=a", "-C", str(tmp_path / "source")],
    )
    ignored = shutil.ignore_patterns("__pycache__", "flowfn.py")
    for part in ("stepflow", "tests/bench"):
        shutil.copytree(ROOT / part, source / part, ignore=ignored)
    (source / "tests" / "bench" / "many.py").write_text("def measure(folder, **how):\n    return " + str(OLD) + "\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "earlier"]):
        subprocess.run([*git, *command], check=True)
    root = beside.checkout(source, "HEAD", tmp_path / "there")
    assert run("many:measure", tmp_path, {}, root) == OLD
    place = {"store": "sqlite", "place": str(tmp_path / "store")}
    assert run("flowfn:drain", tmp_path, {**place, "runs": 2, "width": 2, "style": "async"}, root)["steps"] == 20
    with pytest.raises(beside.NoSuchCommit, match="no commit 'nonsense'"):
        beside.checkout(source, "nonsense", tmp_path / "nowhere")


OLD = {"value": 1.0, "steps": 7, "expected": 7}


def test_a_comparison_says_slower_only_if_the_better_pairs_are(tmp_path: Path) -> None:
    class Scripted(Sampler):
        def sample(self, row: Any) -> float:
            value = self.figures.pop(0)
            self.samples.setdefault(row.name, []).append({"value": value})
            return value

        figures: list[float]

    def compared(name: str, here: list[float], there: list[float]) -> Comparison:
        ours, theirs = Scripted(tmp_path, 1.0), Scripted(tmp_path, 1.0)
        ours.figures, theirs.figures = here, there
        return beside.compare(ROWS[name], ours, theirs, len(there), lambda _: None)

    assert compared("async.64", [98.0, 50.0, 99.0], [100.0, 100.0, 100.0]).verdict == "ok"
    assert compared("async.64", [90.0, 91.0, 92.0], [100.0, 100.0, 100.0]).verdict == "SLOWER"
    assert compared("async.64", [90.0, 94.0, 99.0], [100.0, 100.0, 100.0]).verdict.startswith("unclear")
    assert compared("across.sqlite", [50.0], [100.0]).ratio == 2.0
    lines = "\n".join(
        beside.table("abc", [compared("import", [90.0], [100.0]), Comparison(ROWS["apply"], problem="gone")])
    )
    assert "| import | 90 | 100 | ms | 1.111 | 1.111 … 1.111 | ok |" in lines.replace("90.0", "90")
    assert "gone" in lines


def test_only_rows_about_stepflow_are_compared_with_an_earlier_commit() -> None:
    ours = {name for name, row in ROWS.items() if row.ours}
    assert {"async.64", "apply", "import", "flowfn.64", "serial.sqlite", "load.sqlite.20", "disk.postgres"} <= ours
    assert not {"raw.64.full", "dbos.64", "serial.dura", "transitions", "load.sqlite.half", "pgqueuer.drain"} & ours
