"""A command that is shown with an id of a user does what it says when it is copied into a shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.engine.client.explain import command, shell_word

ODD = [
    "order-1",
    "a b",
    "it's",
    '"',
    "$HOME `x` \\",
    "{x}",
    "-dash",
    "a\nb",
    "a'\n\\'",
    "\u202eevil",
    "*",
    "!",
    "\U0001f600",
    "",
]


@given(st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" ")))
def test_a_printable_text_is_one_word(text):
    assert shlex.split(shell_word(text)) == [text]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash reads the escapes")
def test_a_shell_reads_it_as_it_was():
    words = " ".join(map(shell_word, ODD))
    assert "\n" not in words
    read = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert read.stdout.decode().split("\0")[:-1] == ODD


def test_a_word_that_looks_like_an_option_is_none():
    assert (
        command("publish", "sqlite:///a.db", "one", "paid")
        == "stepflow publish 'one' --store \"sqlite:///a.db\" 'paid'"
    )
    assert command("cancel", "sqlite:///a.db", "-one") == "stepflow cancel --store \"sqlite:///a.db\" -- '-one'"
    assert command("cancel", "sqlite:///$a.db", "one") == "stepflow cancel 'one' --store 'sqlite:///$a.db'"
