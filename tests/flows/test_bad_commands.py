"""Malformed commands and queries: every store refuses them with a message that says what to give; nothing is changed."""

from __future__ import annotations

from datetime import datetime

import pytest

from stepflow import (
    Execute,
    GetData,
    GetDelayedStates,
    GetStateByID,
    GetStateByLabels,
    NotFound,
    StateCtx,
    StepflowError,
    StoreData,
    commit,
    delay,
    park,
    transit,
)

HUGE = 2**70


def with_(**changes):
    """A State with fields of a wrong type."""
    ctx = StateCtx("s")
    for name, value in changes.items():
        setattr(ctx, name, value)
    return ctx


def with_blob(blob, **annotations):
    ctx = StateCtx("s")
    data = ctx.set_data("f", b"x")
    data.blob = blob
    data.annotations.update(annotations)
    return StoreData(ctx, "f")


COMMANDS = {
    "flow of another type": (lambda: commit(transit(StateCtx("s"), 5)), "name the flow to go to by its text"),
    "no flow": (lambda: commit(transit(StateCtx("s"), None)), "name the flow to go to by its text"),
    "flow with NUL": (lambda: commit(transit(StateCtx("s"), "a\0")), "flow's name: .*without NUL"),
    "long flow": (lambda: commit(transit(StateCtx("s"), "a" * 513)), "at most 512 characters"),
    "half a character": (lambda: commit(transit(StateCtx("s"), "\ud800")), "surrogate pair cannot be encoded as UTF-8"),
    "delayed flow": (lambda: delay(StateCtx("s"), 5, 1), r"delay\(ctx, 5, when\): name the flow"),
    "id of another type": (lambda: commit(park(StateCtx(5))), "id=5: give a non-empty text"),
    "labels in a list": (lambda: commit(park(with_(labels=["a"]))), "labels=.*give a dict of texts"),
    "no labels": (lambda: commit(park(with_(labels=None))), "labels must be a dict of texts"),
    "annotations in a list": (lambda: commit(park(with_(annotations=[1]))), "annotations=.*give a dict of texts"),
    "blob of text": (lambda: with_blob("text"), "the blob is of type str: give bytes"),
    "no blob": (lambda: with_blob(None), "the blob is of type NoneType: give bytes"),
    "note on a blob": (lambda: with_blob(b"x", size=3), "keys and values must be texts"),
    "execute nothing": (lambda: Execute(None), "None is no StateCtx"),
    "revision as text": (lambda: GetStateByID(StateCtx("s"), "s", "3"), "rev must be >= 0, not '3'"),
    "revision that is true": (lambda: GetStateByID(StateCtx("s"), "s", True), "rev must be >= 0, not True"),
    "huge revision": (lambda: GetStateByID(StateCtx("s"), "s", HUGE), "rev must be >= 0"),
    "label of another type": (lambda: GetStateByLabels(StateCtx("s"), {"a": 1}), "keys and values must be texts"),
    "offset below zero": (lambda: GetDelayedStates(offset=-5), "offset=-5: give a whole number from 0 on"),
    "limit below zero": (lambda: GetDelayedStates(limit=-5), "limit=-5: give a whole number from 0 on"),
    "huge data revision": (
        lambda: GetData(StateCtx("s", annotations={"flowstate.data.f": "9" * 40}), "f"),
        "data not found",
    ),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_malformed_command_is_refused(engine, what):
    command, message = COMMANDS[what]
    with pytest.raises(StepflowError, match=message):
        engine.do(command())
    assert list(engine.iterate()) == []


def test_data_is_bytes_or_text():
    with pytest.raises(StepflowError, match="5 is neither bytes nor text"):
        StateCtx("s").set_data("f", 5)
    assert StateCtx("s").set_data("f", bytearray(b"x")).blob == b"x"


@pytest.mark.parametrize("since", [-2, HUGE, "x", True, 1.5])
def test_watchers_and_queries_begin_at_a_revision(engine, since):
    engine.do(commit(park(StateCtx("s"))))
    with pytest.raises(StepflowError, match="since_rev="):
        engine.watch(since=since).next(1)
    with pytest.raises(StepflowError, match="since_rev="):
        engine.states(since_rev=since)


def test_time_needs_a_zone_and_a_limit_may_be_large(engine):
    with pytest.raises(StepflowError, match="no time zone"):
        engine.watch(since=datetime(2020, 1, 1)).next(1)  # noqa: DTZ001 - that is the mistake
    engine.do(commit(park(StateCtx("s"))))
    assert len(engine.states(limit=HUGE).states) == 1
    assert engine.do(GetDelayedStates(limit=HUGE, offset=HUGE)) == []


def test_one_bad_command_undoes_the_others_of_its_commit(engine):
    with pytest.raises(StepflowError, match="flow to go to"):
        engine.do(commit(park(StateCtx("good")), transit(StateCtx("bad"), 5)))
    with pytest.raises(NotFound):
        engine.get_state("good")
