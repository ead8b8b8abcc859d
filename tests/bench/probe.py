"""Takes one sample: a probe in a process and a folder of its own, so that no sample feels the one before."""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.places import Places
from tests.bench.row import Row

ROOT = Path(__file__).resolve().parents[2]
MARK = "figures: "
FAILED = "failed:"  # how the problem of a row begins that says something about the benchmark itself
LIMIT_S = 600


class ProbeFailed(Exception):
    """A probe ended without figures, or did not find all of its steps; the message has the end of its output."""


class Refused(Exception):
    """What was asked for is more than the measured library can do; the message tells how much it can."""


def version_of(distribution: str) -> str:
    """The installed version, empty when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def call(probe: str, folder: Path, params: dict[str, Any]) -> None:
    """In the child: run the probe and print its figures as one line."""
    module, _, function = probe.partition(":")
    figures = getattr(importlib.import_module(f"tests.bench.{module}"), function)(folder, **params)
    print(MARK + json.dumps(figures), flush=True)


def environment(root: Path) -> dict[str, str]:
    """The environment of a process that shall import the code below `root`, whatever is installed."""
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run(probe: str, folder: Path, params: dict[str, Any], root: Path = ROOT) -> dict[str, Any]:
    """Run a probe of the code below `root` in a new interpreter; its figures. Raises ProbeFailed and Refused."""
    command = [sys.executable, "-m", "tests.bench", "--probe", probe, str(folder), json.dumps(params)]
    done = subprocess.run(
        command, cwd=root, env=environment(root), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        raise ProbeFailed(f"{probe} {params} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")
    figures: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    if "refused" in figures:
        raise Refused(figures["refused"])
    if figures["steps"] != figures["expected"]:
        raise ProbeFailed(f"{probe} {params}: {figures['steps']} of {figures['expected']} steps were found afterwards")
    return figures


class Sampler:
    """Samples rows below the folder `base`, at a scale, with the code below `root`; keeps what it measured.

    One that works `beside` another one uses its PostgreSQL server and its rates.
    """

    def __init__(self, base: Path, scale: float, root: Path = ROOT, beside: Sampler | None = None) -> None:
        self._base, self._scale, self._root, self._paces = base, scale, root, beside or self
        lender = beside.places if beside else None
        self.places: Places = Places(base, lambda params: run("fill:make", base, params, root), lender=lender)
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self.failed: dict[str, str] = {}

    def sample(self, row: Row) -> float | None:
        """One more sample of the row: its value, or None when the row could not be measured."""
        if row.name in self.failed:
            return None
        if not all(map(version_of, row.needs)):
            self.failed[row.name] = "not installed"
            return None
        try:
            figures = self._figures(row)
        except Refused as error:
            self.failed[row.name] = str(error)
            return None
        except (ProbeFailed, subprocess.TimeoutExpired) as error:
            self.failed[row.name] = f"{FAILED} {error}"
            return None
        self.samples.setdefault(row.name, []).append(figures)
        return float(figures["value"])

    def _pace(self, row: Row) -> dict[str, float]:
        """The rate of a paced row: a share of the median of the other row, which is sampled for it if it was not yet."""
        if row.paced is None:
            return {}
        (pace, share), known = row.paced, self._paces
        if pace.name not in known.samples and known.sample(pace) is None:
            raise Refused(f"no rate: {pace.name} {known.failed[pace.name]}")
        return {"rate": statistics.median(sample["value"] for sample in known.samples[pace.name]) * share}

    def _figures(self, row: Row) -> dict[str, Any]:
        params = {**row.params(self._scale), **self._pace(row)}
        with TemporaryDirectory(prefix="sample-", dir=self._base) as folder:
            if not row.store:
                return run(row.probe, Path(folder), params, self._root)
            with self.places.of(row, self._scale, Path(folder)) as where:
                return run(row.probe, Path(folder), {**params, **where}, self._root)
