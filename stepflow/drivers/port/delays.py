"""What may hang on a State besides its position: delays that move it later, and data (blobs)."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from stepflow.model.state import State


@frozen
class Delay:
    """A State that moves on by itself at `due` (microseconds UTC): `state` is a snapshot with the transition it will take.

    `commit` True: void if the State has another revision by then; False: the snapshot is executed all the same. `offset`
    is given by the store, dense per namespace from 1; 0 before. `fired` once it was carried out, cancelled or found void.
    """

    state: State
    due: int
    commit: bool = True
    offset: int = 0
    fired: bool = False


def delay_key(run_id: str, offset: int) -> str:
    """The key of a delay's row in the ready queue; a run id never holds NUL, so the two cannot be confused."""
    return f"{run_id}\0{offset}"


@frozen
class DataWrite:
    """A blob to be stored for a run; the store gives it the next data revision, dense per namespace from 1."""

    run_id: str
    blob: bytes
    annotations: Mapping[str, str]


@frozen
class StoredData:
    """A blob as it was stored."""

    rev: int
    blob: bytes
    annotations: Mapping[str, str]


@frozen
class DelayQuery:
    """Delays by (due, offset): `since < due <= until` and `offset > after`, at most `limit`.

    `run_id` asks for those of one run, `pending` for those that have not fired.
    """

    until: int
    since: int = -1
    after: int = 0
    limit: int = 500
    run_id: str | None = None
    pending: bool = False


@frozen
class DataQuery:
    """The data of one revision; the answer is empty if there is none."""

    rev: int
