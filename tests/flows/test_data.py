"""Data of a State: stored, loaded, changed, as part of a commit."""

from __future__ import annotations

import pytest

from stepflow import (
    GetData,
    RevMismatch,
    StateCtx,
    StepflowError,
    StoreData,
    commit,
    park,
)
from stepflow.engine.states.checksum import xxhash64
from stepflow.model.data import Data

SUM = "checksum/xxhash64"


def test_checksums():
    assert (xxhash64(b"foo"), xxhash64(b"50")) == ("3728699739546630719", "11329650324634456925")


def test_dirty():
    assert Data(b"x").dirty("1")
    assert not Data(b"x", 3).dirty("1")
    assert not Data(b"x", 3, {SUM: "1"}).dirty("1")
    assert Data(b"x", 3, {SUM: "2"}).dirty("1")
    assert Data(b"x", 3, {SUM: "no number"}).dirty("1")


def test_data_of_a_commit_that_failed_was_never_stored(engine):
    ctx = StateCtx("s")
    engine.do(commit(park(ctx)))
    stale = ctx.copy()
    engine.do(commit(park(ctx)))
    stale.set_data("d", "x")
    with pytest.raises(RevMismatch):
        engine.do(commit(StoreData(stale, "d"), park(stale)))
    assert stale.data("d") == Data(b"x")
    assert stale.annotations == {}
    ctx.set_data("d", "y")
    engine.do(commit(StoreData(ctx, "d"), park(ctx)))
    assert ctx.data("d").rev == 1


@pytest.mark.parametrize(
    ("annotations", "alias", "error"),
    [
        ({}, "", "alias is empty"),
        ({}, "x", 'annotation "flowstate.data.x" is not set'),
        ({"flowstate.data.x": "ten"}, "x", 'annotation "flowstate.data.x" contains invalid data revision'),
        ({"flowstate.data.x": "-1"}, "x", 'annotation "flowstate.data.x" contains invalid data revision'),
        ({"flowstate.data.x": "77"}, "x", "data not found: revision 77"),
    ],
)
def test_get_says_what_is_wrong(engine, annotations, alias, error):
    with pytest.raises(StepflowError, match=error):
        engine.do(GetData(StateCtx("s", {}, annotations), alias))


def test_store_says_what_is_wrong(engine):
    ctx = StateCtx("s")
    with pytest.raises(StepflowError, match="data 'x' of 's' is not loaded"):
        engine.do(StoreData(ctx, "x"))
    ctx.datas["x"] = Data(b"", -1)
    with pytest.raises(StepflowError, match="data rev is negative"):
        engine.do(StoreData(ctx, "x"))
    with pytest.raises(StepflowError, match="alias is empty"):
        ctx.set_data("", b"")
