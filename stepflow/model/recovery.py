"""recovery: the annotations of a State that control its recovery."""

from __future__ import annotations

import re

from stepflow.model.state import State

ENABLED = "flowstate.recovery.enabled"  # state annotation: "false": no recovery when its function fails
MAX_ATTEMPTS = "flowstate.recovery.max_attempts"  # state annotation: decimal
RETRY_AFTER = "flowstate.recovery.retry_after"  # state annotation: a duration like "1m30s"
TRIED = "flowstate.recovery.attempt"  # transition annotation: how often it was retried
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def left_alone(state: State) -> bool:
    """Whether recovery is disabled: the State stays as it is when its function fails or its process dies."""
    return state.annotations.get(ENABLED) == "false"


def max_attempts(state: State, default: int) -> int:
    """How often its function may be called before the State fails."""
    text = state.annotations.get(MAX_ATTEMPTS, "")
    return int(text) if text.isdecimal() and int(text) > 0 else default


def retry_after_s(state: State, default: float) -> float:
    """Seconds before the next attempt."""
    wanted = duration_s(state.annotations.get(RETRY_AFTER, ""))
    return default if wanted is None else wanted


def tried(state: State) -> int:
    """How often it was retried at its current transition."""
    text = state.transition.annotations.get(TRIED, "")
    return int(text) if text.isdecimal() else 0


def duration_s(text: str) -> float | None:
    """Seconds of a duration like `1m30s`, `90s` or `1.5h`; None for anything else."""
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ms|h|m|s)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)
