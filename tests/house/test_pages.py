"""Every Python block of the README and the docs runs and prints what the page says."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from stepflow.cli.app import app
from tests.house.pages import ROOT, blocks_of, matches, problems_of, suites_of

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


SERVED = "DATABASE_URL"  # a page that names it is run with a database of its own


@pytest.fixture
def server(postgres):
    return postgres


@pytest.fixture
def more(request, path):
    if SERVED not in path.read_text():
        return {}
    server, name = request.getfixturevalue("server"), re.sub(r"\W", "_", path.stem)
    server.execute(f"create database {name}")
    return {SERVED: server.uri.replace("/postgres?", f"/{name}?")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_page_runs_as_written(path, more, tmp_path):
    assert problems_of(path.read_text(), tmp_path, more) == []


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "path", [p for p in PAGES if len(suites_of(blocks_of(p.read_text()))) > 1], ids=lambda p: p.stem
)
def test_all_tests_on_the_page_pass(path, tmp_path):
    assert problems_of(path.read_text(), tmp_path, thorough=True) == []


PAGE = """
```python
x = 20
print("twenty", x)
```

It prints

```text
{expected}
```

1. in a list

   ```python
   print(x + 1)
   ```
   ```text
   21
   ```
"""


def test_a_page_with_the_right_output_has_no_problem(tmp_path):
    assert problems_of(PAGE.format(expected="twen... 20"), tmp_path) == []


def test_a_wrong_output_is_found_and_shown(tmp_path):
    (problem,) = problems_of(PAGE.format(expected="twenty 21"), tmp_path)
    assert problem.startswith("line 2: expected\ntwenty 21")


def test_an_error_is_shown_with_the_line_of_the_page(tmp_path):
    (problem,) = problems_of("text\n\n```python\nok = 1\n1 / 0\n```\n", tmp_path)
    assert "line 5" in problem
    assert "ZeroDivisionError" in problem


def test_a_block_with_a_title_is_a_file_that_others_can_use(tmp_path):
    page = '```python title="helper.py"\nprint("loaded")\nx = 1\n```\n```python\nfrom helper import x\nprint(x)\n```\n'
    assert problems_of(page + "```text\nloaded\n1\n```\n", tmp_path) == []
    assert len(problems_of(page + "```text\n1\n```\n", tmp_path)) == 1


def test_a_page_gets_what_it_needs_from_the_environment(tmp_path):
    page = '```python\nimport os\nprint(os.environ["NEEDED"])\n```\n```text\n42\n```\n'
    assert problems_of(page, tmp_path, {"NEEDED": "42"}) == []
    assert "KeyError" in problems_of(page, tmp_path)[0]


def test_tests_on_a_page_are_run_in_its_project(tmp_path):
    page = """```toml title="pyproject.toml"
[project]
name = "thing"
version = "1.0"
[project.entry-points.things]
"a+b" = "thing:make"
```
```python title="test_thing.py"
from importlib.metadata import entry_points

def test_it():
    assert [e.value for e in entry_points(group="things", name="a+b")] == ["{value}"]
```
```console
$ pytest test_thing.py
```
"""
    for folder in ("good", "bad"):
        (tmp_path / folder).mkdir()
    assert problems_of(page.replace("{value}", "thing:make"), tmp_path / "good") == []
    (problem,) = problems_of(page.replace("{value}", "thing:other"), tmp_path / "bad")
    assert "1 failed" in problem


def test_other_languages_are_not_run():
    assert [b.language for b in blocks_of("```console\n$ ls\n```\n\n```py\nnot run\n```\n")] == ["console", "py"]


def test_dots_stand_for_anything_but_the_rest_must_be_equal():
    assert matches("a ... c\nd", "a b\nb c\nd  \n")
    assert not matches("a ... c", "a b c d")


def commands_of(path) -> list[list[str]]:
    """Every `stepflow …` line in the console blocks of a page, as words."""
    texts = [b.text.replace("\\\n", " ") for b in blocks_of(path.read_text()) if b.language == "console"]
    lines = [line for text in texts for line in text.splitlines()]
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [w[1:] for w in words if w and w[0].endswith("stepflow") and "pip" not in w]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_on_the_page_exists_with_its_options(path):
    for verb, *rest in commands_of(path):
        command = app.get_command(click.Context(app), verb)
        assert command is not None, verb
        command.make_context(verb, rest)


def test_the_pages_show_commands():
    assert len([c for path in PAGES for c in commands_of(path)]) > 15


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    pages = [*PAGES, ROOT / "CONTRIBUTING.md"]
    assert {m for path in pages for m in re.findall(r"(?:`|\$ )make ([a-z-]+)", path.read_text())} <= targets
