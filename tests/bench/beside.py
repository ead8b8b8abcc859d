"""An earlier commit beside this code: the same rows with both, in interleaved pairs, and the ratio of each row.

The commit's own `tests/bench` measures it, because probes also import inner modules, which move from commit to commit. Modules
that it lacks are added from this code: they import public names of stepflow only, so newer rows are measured as well.
"""

from __future__ import annotations

import io
import shutil
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.bench.probe import FAILED, ROOT, Sampler, environment
from tests.bench.report import number
from tests.bench.row import Row

LEAST = 0.95  # of the speed of the commit


class NoSuchCommit(Exception):
    """The commit, or git itself, cannot be found; the message has what git says."""


@frozen
class Comparison:
    """A row with both codes: their medians, and the ratio of each pair. Above 1, this code is better.

    `problem` tells why there are no pairs.
    """

    row: Row
    here: float = 0.0
    there: float = 0.0
    ratios: tuple[float, ...] = ()
    problem: str = ""

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper quartile of the ratios."""
        if len(self.ratios) == 1:
            return self.ratios[0], self.ratios[0]
        low, _, high = statistics.quantiles(self.ratios, n=4, method="inclusive")
        return low, high

    @property
    def verdict(self) -> str:
        """Slower is what is so for the median and for the better half of the pairs around it."""
        if self.problem:
            return "not measured"
        if self.ratio >= LEAST:
            return "ok"
        return "SLOWER" if self.quartiles[1] < LEAST else "unclear, take more pairs"


def checkout(repository: Path, commit: str, folder: Path) -> Path:
    """The code of a commit in a new `folder`, with those modules of this benchmark that it lacks."""
    done = subprocess.run(["git", "-C", str(repository), "archive", commit], capture_output=True, check=False)
    if done.returncode:
        raise NoSuchCommit(f"git finds no commit {commit!r} in {repository}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    ours, theirs = ROOT / "tests" / "bench", folder / "tests" / "bench"
    for module in ours.rglob("*.py"):
        copy = theirs / module.relative_to(ours)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(module, copy)
    found = subprocess.run(
        [sys.executable, "-c", "import stepflow; print(stepflow.__file__)"],
        cwd=folder, env=environment(folder), capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    if not Path(found).resolve().is_relative_to(folder.resolve()):
        raise RuntimeError(f"{commit} would not be measured: `import stepflow` finds {found}")
    return folder


def compare(row: Row, here: Sampler, there: Sampler, pairs: int, tell: Callable[[str], Any]) -> Comparison:
    """Sample both in turn; every second pair begins with the other one."""
    ratios = []
    for n in range(pairs):
        tell(f"{row.name}: {row.label} ({n + 1}/{pairs})")
        found = {sampler: sampler.sample(row) for sampler in ((here, there) if n % 2 else (there, here))}
        ours, theirs = found[here], found[there]
        if ours is None or theirs is None:
            sides = {"here": here.failed.get(row.name), "there": there.failed.get(row.name)}
            return Comparison(row, problem="; ".join(f"{side}: {text}" for side, text in sides.items() if text))
        ratios.append(theirs / ours if row.less_is_better else ours / theirs)
    mine, other = (statistics.median(s["value"] for s in side.samples[row.name]) for side in (here, there))
    return Comparison(row, mine, other, tuple(ratios))


def table(commit: str, found: Sequence[Comparison]) -> Iterator[str]:
    """The lines of the table, in Markdown."""
    yield f"| row | this code | {commit} | unit | ratio | quartiles | |"
    yield "|---|---:|---:|---|---:|---:|---|"
    for c in found:
        if c.problem:
            yield f"| {c.row.name} | - | - | {c.row.unit} | - | - | {c.problem.strip().splitlines()[-1]} |"
            continue
        low, high = c.quartiles
        figures = f"{number(c.here)} | {number(c.there)} | {c.row.unit} | {c.ratio:.3f} | {low:.3f} … {high:.3f}"
        yield f"| {c.row.name} | {figures} | {c.verdict} |"


def document(commit: str, machine: Mapping[str, str], found: Sequence[Comparison]) -> dict[str, Any]:
    """Everything, for `--json`."""
    rows = {
        c.row.name: {
            "label": c.row.label,
            "unit": c.row.unit,
            "here": c.here,
            "there": c.there,
            "ratios": c.ratios,
            "verdict": c.verdict,
            "problem": c.problem,
        }
        for c in found
    }
    return {"machine": dict(machine), "commit": commit, "rows": rows}


def broken(found: Sequence[Comparison]) -> list[str]:
    """The problems that say something about the benchmark itself."""
    return [f"{c.row.name} {c.problem}" for c in found if FAILED in c.problem]
