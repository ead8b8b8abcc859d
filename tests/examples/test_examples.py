"""Every numbered example runs in an empty folder and prints what its file in examples/expected says."""

from __future__ import annotations

import re

import pytest

from tests.house.pages import ROOT, matches, run_script

EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
EXPECTED = ROOT / "examples" / "expected"
LONGEST = 75  # lines


# What a worker logs of runs that fail or are tried again, with the traceback; anything else is a fault of the example.
LOGGED = re.compile(
    r"taking over from |run \S+ of flow |Traceback |  |in step |$|(\w+\.)*\w*(Error|TimedOut): |The above exc"
)


@pytest.fixture
def server(postgres):
    return postgres


@pytest.fixture
def words(request, path):
    """The arguments of an example: the URL of a store, for those that take it from there."""
    return [request.getfixturevalue("server").url()] if "sys.argv[1:]" in path.read_text() else []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_example_prints_what_it_should(path, words, tmp_path):
    done = run_script(path, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert all(LOGGED.match(line) for line in done.stderr.splitlines()), done.stderr
    expected = (EXPECTED / f"{path.stem}.txt").read_text()
    assert matches(expected, done.stdout), done.stdout


def test_every_expected_output_belongs_to_an_example():
    assert [p.stem for p in sorted(EXPECTED.glob("*.txt"))] == [p.stem for p in EXAMPLES]


def test_the_docs_list_every_example():
    listed = re.findall(r"^\| `(\d\d_\w+)\.py` \|", (ROOT / "docs" / "examples.md").read_text(), re.M)
    assert listed == [p.stem for p in EXAMPLES]


def test_every_example_fits_on_a_page():
    assert [p.stem for p in EXAMPLES if len(p.read_text().splitlines()) >= LONGEST] == []
