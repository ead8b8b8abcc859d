"""Checks what commands on States carry: flow names, revisions, blobs, working copies and pages of delays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from stepflow.engine.checks import checked_id, checked_labels, checked_notes
from stepflow.errors import StepflowError
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data

MAX_NUMBER = 2**63 - 1  # of revisions and offsets, in every store


def checked_target(to: Any, verb: str, more: str = "") -> str:
    """The name of the flow that a State is to go to."""
    if not isinstance(to, str):
        raise StepflowError(f"{verb}(ctx, {to!r:.80}{more}): name the flow to go to by its text, e.g. {to!s:.80}.name")
    if not to:
        nowhere = "; park(ctx) goes nowhere" if verb == "transit" else ""
        raise StepflowError(f"flow id empty: {verb}(ctx, to{more}) needs the flow to go to{nowhere}")
    try:
        return _checked_name(to)
    except StepflowError as error:
        raise StepflowError(f"{verb}(ctx, to{more}): the flow's name: {error}") from None


@lru_cache(maxsize=1024)
def _checked_name(to: str) -> str:
    return checked_id(to)


def checked_state_id(run_id: Any) -> str:
    """The id of a State that is to be written."""
    if not run_id:
        raise StepflowError('state id empty: give the State an id, StateCtx("order-42")')
    return checked_id(run_id)


def checked_rev(rev: Any) -> int:
    """The revision of one State to read."""
    if isinstance(rev, bool) or not isinstance(rev, int) or not 0 <= rev <= MAX_NUMBER:
        raise StepflowError(f"rev must be >= 0, not {rev!r:.80}: give a revision, or 0 for the newest")
    return rev


def checked_since(rev: Any) -> int:
    """A revision to begin after; -1 is the newest."""
    if isinstance(rev, bool) or not isinstance(rev, int) or not -1 <= rev <= MAX_NUMBER:
        raise StepflowError(f"since_rev={rev!r:.80}: give a revision, 0 for the beginning or -1 for the newest")
    return rev


def checked_page(offset: Any, limit: Any) -> tuple[int, int]:
    """Where a page of delays begins, and its length; a length of 0 is the usual one."""
    for name, number in (("offset", offset), ("limit", limit)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise StepflowError(f"{name}={number!r:.80}: give a whole number from 0 on")
    return min(offset, MAX_NUMBER), min(limit or 500, 2**31 - 1)


def checked_data(alias: str, data: Data) -> Data:
    """A blob that may be stored."""
    if not isinstance(data.blob, bytes):
        raise StepflowError(
            f"data {alias!r}: the blob is of type {type(data.blob).__name__}: give bytes, or use ctx.set_data(alias, text)"
        )
    if data.rev < 0:
        raise StepflowError(f"data rev is negative ({data.rev}): only the store gives revisions")
    checked_notes(data.annotations)
    return data


def checked_ctx(ctx: Any) -> StateCtx:
    """The working copy that a command names."""
    if not isinstance(ctx, StateCtx):
        raise StepflowError(f"{ctx!r:.80} is no StateCtx: commands work on StateCtx(id) or engine.get_state(id)")
    return ctx


def copy_of(ctx: Any) -> StateCtx:
    """A working copy of a State."""
    given = checked_ctx(ctx)
    try:
        return given.copy()
    except (TypeError, ValueError) as error:
        checked_labels(ctx.labels)
        checked_notes(ctx.annotations)
        raise StepflowError(
            f"State {ctx.id!r:.80} cannot be copied ({error}): labels must be a dict of texts"
        ) from error
