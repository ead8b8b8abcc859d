"""Benchmark: `python -m tests.bench` measures raw limits, peers and stepflow side by side and prints one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from tests.bench import beside, machine, probe, report
from tests.bench.bars import ALSO, BARS, Bar, judge
from tests.bench.rows import ROWS

DISTRIBUTIONS = (
    "psycopg", "rocksdict", "dbos", "burr", "langgraph", "langgraph-checkpoint-sqlite", "pgqueuer", "asyncpg",
    "transitions", "python-statemachine", "dura", "unhinged", "absurd-sdk", "absurdctl", "pgtask", "opentelemetry-sdk",
)  # fmt: skip
DISK = Path("/var/tmp")  # unlike /tmp never kept in memory, where nothing would have to be made durable


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything to FILE")
    parser.add_argument(
        "--only", metavar="NAMES", help="rows to measure, e.g. 'raw.*,async.64'; bars whose rows are in"
    )
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs per bar (default 5; 0: no bars)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of runs per sample (default 1)")
    parser.add_argument("--dir", type=Path, help="where the stores are written (default /var/tmp)")
    parser.add_argument("--long", action="store_true", help="also the rows that take minutes")
    parser.add_argument(
        "--beside",
        metavar="COMMIT",
        help="measure the rows of stepflow with this code and with that of COMMIT, in pairs",
    )
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--probe", nargs=3, metavar=("PROBE", "FOLDER", "PARAMS"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def chosen(only: str | None, *, long: bool) -> list[str]:
    """The names of the rows to measure, in the order of the table."""
    names = [name for name, row in ROWS.items() if long or not row.long]
    if only is None:
        return names
    patterns = [p.strip() for p in only.split(",")]
    found = [name for name in names if any(fnmatch(name, p) for p in patterns)]
    if not found:
        sys.exit(f"--only {only!r} names no row; there are: {', '.join(names)}")
    return found


def _within(bar: Bar, names: Sequence[str]) -> bool:
    return bar.row in names and (not bar.against or any(n in names for n in bar.against))


def _tell(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


def _measure(base: Path, names: Sequence[str], options: argparse.Namespace) -> int:
    facts = machine.describe(base, DISTRIBUTIONS)
    sampler = probe.Sampler(base, options.scale)
    try:
        for name in names:
            _tell(f"{name}: {ROWS[name].label}")
            sampler.sample(ROWS[name])
        found, also = (
            [judge(b, sampler, options.pairs, _tell) for b in bars if options.pairs and _within(b, names)]
            for bars in (BARS, ALSO)
        )
        if sampler.places.server is not None:
            facts["PostgreSQL"] = sampler.places.server.facts()
    finally:
        sampler.places.close()
    _print(f"{key}: {value}" for key, value in facts.items())
    _print(report.table(names, sampler))
    for title, verdicts in (("bar", found), ("for information", also)):
        if verdicts:
            _print(report.verdicts(title, verdicts))
    document = report.document(facts, names, sampler, [*found, *also])
    broken = [f"{name} {text}" for name, text in sampler.failed.items() if text.startswith(probe.FAILED)]
    return _finish(document, broken, options)


def _compare(base: Path, names: Sequence[str], options: argparse.Namespace) -> int:
    """Measure the rows of stepflow among these with both codes."""
    folder = base / "beside"
    folder.mkdir()
    facts = machine.describe(base, DISTRIBUTIONS)
    root = beside.checkout(probe.ROOT, options.beside, folder / "code")
    here = probe.Sampler(base, options.scale)
    there = probe.Sampler(folder, options.scale, root, here)
    try:
        rows = [ROWS[name] for name in names if ROWS[name].ours]
        found = [beside.compare(row, here, there, max(1, options.pairs), _tell) for row in rows]
        if here.places.server is not None:
            facts["PostgreSQL"] = here.places.server.facts()
    finally:
        here.places.close()
    _print(f"{key}: {value}" for key, value in facts.items())
    _print(beside.table(options.beside, found))
    return _finish(beside.document(options.beside, facts, found), beside.broken(found), options)


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines), end="\n\n")


def _finish(document: dict[str, Any], broken: Sequence[str], options: argparse.Namespace) -> int:
    """Write the document, if it is wanted, and the problems; the exit code."""
    if options.json:
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


def main(argv: Sequence[str]) -> int:
    """Measure and print; 1 if something could not be measured, however the bars turn out."""
    options = _arguments(argv)
    if options.probe:
        name, folder, params = options.probe
        probe.call(name, Path(folder), json.loads(params))
        return 0
    names = chosen(options.only, long=options.long)
    if options.list:
        print("\n".join(f"{name:22} {ROWS[name].group}: {ROWS[name].label}" for name in names))
        return 0
    folder = options.dir or (DISK if DISK.is_dir() else Path(gettempdir()))
    with TemporaryDirectory(prefix="stepflow-bench-", dir=folder) as base:
        try:
            return (_compare if options.beside else _measure)(Path(base), names, options)
        except beside.NoSuchCommit as error:
            sys.exit(f"--beside {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
