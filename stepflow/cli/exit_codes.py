"""exit_codes: the table of exit codes, from which the help of the command and of its verbs, and the reference, are made."""

from __future__ import annotations

from collections.abc import Mapping

DONE, REFUSED, WRONG_USE, ATTENTION, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES: Mapping[int, str] = {
    DONE: "done; a dry run, and an empty list, too",
    REFUSED: "refused by the library or the store, the message names the fix; of several ids one was refused, the others are done",
    WRONG_USE: "wrong use: an unknown verb, option or module, a value of the wrong form, no store",
    ATTENTION: "the verb found what needs attention",
    INTERRUPTED: "interrupted",
}
"""Code -> what it means for every verb."""

OF_VERBS: Mapping[str, Mapping[int, str]] = {
    "check": {ATTENTION: "a run cannot go on with these definitions"},
    "doctor": {ATTENTION: "something needs attention; with --alive-file: the worker is not alive"},
    "host": {REFUSED: "the port is in use, or a file cannot be read"},
    "run": {REFUSED: "the run failed, or --timeout was over"},
    "serve": {REFUSED: "the port is in use, or a file or the store cannot be opened"},
    "tail": {ATTENTION: "the run ended as failed or cancelled"},
    "worker": {
        ATTENTION: "with --until-idle: it leaves blocked runs",
        INTERRUPTED: "with --until-idle: SIGTERM came before that",
    },
}
"""Verb -> code -> when this verb, besides, ends with it."""


def of_verb(verb: str) -> str:
    """The end of the help of a verb: its codes; empty if it has none of its own."""
    return "\n\n".join(f"Exit code {code}: {meaning}." for code, meaning in OF_VERBS.get(verb, {}).items())
