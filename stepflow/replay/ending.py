"""ending: what is wrong with how the function of a workflow ended; the text says what was done, and what to do instead."""

from __future__ import annotations

from stepflow.errors import DefinitionError, StepflowError, TooLarge, error_line
from stepflow.model.error_text import is_a, kind_of, message_of, set_cause
from stepflow.replay.effects import Suspension
from stepflow.replay.journal import GATHER, Journal, Suspended

SHOWN = 200  # characters of the message of what a function raised


def wrong_end(journal: Journal, raised: BaseException | None, cancelled: type[BaseException]) -> StepflowError | None:
    """Why the run is blocked, although the function has returned or `raised`; `cancelled` is what ends a task of an event loop."""
    if journal.problem is not None:
        return journal.problem
    if journal.suspension is not None and not journal.over:
        at = "wf.continue_as_new()" if journal.renewed is not None else ""
        return None if is_a(raised, Suspended) else swallowed(journal.flow, journal.suspension, at)
    broken = journal.broken
    if broken is not None and (raised is not broken or (journal.went_on and is_a(broken, cancelled))):
        return _went_on(journal.flow, broken)
    return None


def wrong_return(journal: Journal) -> StepflowError | None:
    """Why the run is blocked, although the function returned a result."""
    try:
        journal.finished()
    except StepflowError as error:
        return error
    if journal.begun == len(journal.made) or not journal.made:
        return None
    left = [key for key in journal.made if key != GATHER and key not in journal.used]
    return _unawaited(journal.flow, left[0] if left else GATHER)


def wrong_failure(journal: Journal, raised: BaseException) -> StepflowError | None:
    """Why the run is blocked, and does not fail by what the function raised: it has recorded more calls than the function came by."""
    if is_a(raised, TooLarge):
        return None
    try:
        journal.finished(f"{error_line(kind_of(raised), message_of(raised))[:SHOWN]}, which the function raises")
    except StepflowError as error:
        set_cause(error, raised)
        return error
    return None


def swallowed(flow: str, found: Suspension, at: str = "") -> DefinitionError:
    """The code that a call suspended went on."""
    return DefinitionError(
        f"{flow}: the function went on after the call at {at or found.at or 'which the worker stopped'} had suspended the run: it must not"
        " catch BaseException without raising it again; `except Exception` is fine"
    )


def _went_on(flow: str, broken: BaseException) -> DefinitionError:
    return DefinitionError(
        f"{flow}: the function went on after {kind_of(broken)} had ended one of its calls, which is not recorded and would be made again: it"
        " must not catch BaseException, nor put calls under asyncio.timeout: give the step timeout="
    )


def _unawaited(flow: str, key: str) -> DefinitionError:
    return DefinitionError(
        f"{flow}: the call with the key {key!r} was made without `await`, so it did nothing: await it"
    )
