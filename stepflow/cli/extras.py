"""extras: the error of a verb whose optional packages are not installed."""

from __future__ import annotations

from stepflow.errors import StepflowError


def without_extra(what: str, extra: str, error: ImportError) -> StepflowError:
    """Tells which package `what` lacks, and the install line: once, although the module that was imported may tell it, too."""
    missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    return StepflowError(f'{what} needs more packages ({missing}): pip install "stepflow[{extra}]"')
