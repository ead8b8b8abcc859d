"""Every numbered example runs in an empty folder and prints what its file in examples/expected says."""

from __future__ import annotations

import pytest

from tests.house.pages import ROOT, matches, run_script

EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
EXPECTED = ROOT / "examples" / "expected"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_example_prints_what_it_should(path, tmp_path):
    done = run_script(path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("taking over from") for line in done.stderr.splitlines()), done.stderr
    expected = (EXPECTED / f"{path.stem}.txt").read_text()
    assert matches(expected, done.stdout), done.stdout


def test_every_expected_output_belongs_to_an_example():
    assert [p.stem for p in sorted(EXPECTED.glob("*.txt"))] == [p.stem for p in EXAMPLES]
