"""The reference of the command line is what the script makes of the commands, and the commands say what it needs."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest

from stepflow.cli.app import ELSEWHERE, VERBS, app
from stepflow.cli.exit_codes import ATTENTION, EXIT_CODES, OF_VERBS
from tests.house.generate_cli_page import BEGIN, COMMAND, END, GUIDES, PAGE, ROOT, _section, page_of, verbs_of

ALL = dict(verbs_of(app))
FILES = sorted((ROOT / "stepflow" / "cli").glob("*.py"))


def test_the_page_is_what_the_script_makes_of_the_commands():
    assert PAGE.read_text() == page_of(PAGE.read_text()), f"{PAGE.name} differs from the commands: run `{COMMAND}`"


def test_what_is_changed_by_hand_between_the_marks_is_made_anew_and_the_text_around_them_is_kept():
    page = f"# Before\n{BEGIN}a verb that is gone\n{END}behind\n"
    made = page_of(page)
    assert made.startswith(f"# Before\n{BEGIN}")
    assert made.endswith(f"{END}behind\n")
    assert "gone" not in made
    assert page_of(made) == made
    with pytest.raises(AssertionError, match="until here"):
        page_of(page.replace(END, ""))


def test_a_new_option_is_on_the_page_with_its_default_and_variable():
    @click.command()
    @click.argument("name")
    @click.option("--size", default=3, show_default=True, type=click.IntRange(1), help="How many; see --all|none.")
    @click.option("--where", envvar="W", show_envvar=True, metavar="A|B", help="Where.")
    def new() -> None:
        """Do it with `--size 1` or --size 2."""

    text = "\n".join(_section("new", new))
    assert "```text\nstepflow new [OPTIONS] NAME\n```\n\nDo it with `--size 1` or `--size` 2.\n" in text
    assert "| `--size INTEGER RANGE` | How many; see `--all`\\|none. | default: 3; x>=1 |" in text
    assert "| `--where A\\|B` | Where. | env var: W |" in text
    assert "options of the store" not in text


def test_every_verb_and_every_option_has_a_help():
    context = click.Context(app)
    records = {
        (name, option.name): option.get_help_record(context)
        for name, command in ALL.items()
        for option in command.params
        if isinstance(option, click.Option)
    }
    silent = [where for where, record in records.items() if record is None or not record[1].split("[")[0].strip()]
    assert silent == []
    assert [name for name, command in ALL.items() if not command.help] == []


def test_the_tables_of_guides_and_exit_codes_name_verbs():
    assert GUIDES.keys() <= ALL.keys()
    assert OF_VERBS.keys() <= ALL.keys()
    assert {code for codes in OF_VERBS.values() for code in codes} <= EXIT_CODES.keys()


def test_the_help_of_a_verb_tells_its_exit_codes(capsys):
    for verb, codes in OF_VERBS.items():
        with pytest.raises(SystemExit):
            app.main([verb, "--help"])
        told = " ".join(capsys.readouterr().out.split())
        assert all(f"Exit code {code}: {meaning}." in told for code, meaning in codes.items()), verb


def test_the_verbs_that_find_what_needs_attention_are_those_of_the_table():
    """A number in a `return` would be a code that no table has."""
    modules = {ELSEWHERE.get(verb, (verb,))[0]: verb for verb in VERBS}
    found = {modules[path.stem] for path in FILES if "ATTENTION" in names_in(path) and path.stem in modules}
    assert found == {verb for verb, codes in OF_VERBS.items() if ATTENTION in codes}
    assert [f"{path.name}: {line}" for path in FILES for line in numbers_returned(path)] == []


def names_in(path: Path) -> set[str]:
    """The names that the code of a file reads."""
    return {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}


def numbers_returned(path: Path) -> list[int]:
    """The lines of a file that return a number but 0, in any branch."""
    returns = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Return) and n.value is not None]
    branches = [
        (n, b)
        for n in returns
        for b in ([n.value.body, n.value.orelse] if isinstance(n.value, ast.IfExp) else [n.value])
    ]
    return [n.lineno for n, b in branches if isinstance(b, ast.Constant) and type(b.value) is int and b.value]
