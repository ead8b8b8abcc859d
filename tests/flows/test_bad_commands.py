"""Malformed commands and queries: every store refuses them with a message that says what to give; nothing is changed."""

from __future__ import annotations

from datetime import datetime

import pytest

from stepflow import (
    GetData,
    GetDelayedStates,
    NotFound,
    StateCtx,
    StepflowError,
    StoreData,
    commit,
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
    "id of another type": (lambda: commit(park(StateCtx(5))), "id=5: give a non-empty text"),
    "labels in a list": (lambda: commit(park(with_(labels=["a"]))), "labels=.*give a dict of texts"),
    "no labels": (lambda: commit(park(with_(labels=None))), "labels must be a dict of texts"),
    "annotations in a list": (lambda: commit(park(with_(annotations=[1]))), "annotations=.*give a dict of texts"),
    "blob of text": (lambda: with_blob("text"), "the blob is of type str: give bytes"),
    "no blob": (lambda: with_blob(None), "the blob is of type NoneType: give bytes"),
    "note on a blob": (lambda: with_blob(b"x", size=3), "keys and values must be texts"),
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
    with pytest.raises(StepflowError, match="id=5"):
        engine.do(commit(park(StateCtx("good")), transit(StateCtx(5), "f")))
    with pytest.raises(NotFound):
        engine.get_state("good")
