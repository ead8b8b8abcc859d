"""Checks the States and blobs that commands name, when they are carried out: both can change until then."""

from __future__ import annotations

from typing import Any

from stepflow.errors import StepflowError
from stepflow.model.checks import checked_ctx, checked_id, checked_labels, checked_notes
from stepflow.model.ctx import StateCtx
from stepflow.model.data import Data


def checked_state_id(run_id: Any) -> str:
    """The id of a State that is to be written."""
    if not run_id:
        raise StepflowError('state id empty: give the State an id, StateCtx("order-42")')
    return checked_id(run_id)


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
