"""durations: converts seconds or a timedelta to seconds, and seconds to text."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any


def seconds(name: str, given: Any, *, zero: bool = False) -> tuple[float, str]:
    """(seconds, "") or (0, the problem). Accepts finite positive numbers and timedeltas; 0 only with `zero`."""
    if isinstance(given, timedelta):
        value = given.total_seconds()
    elif isinstance(given, (int, float)) and not isinstance(given, bool):
        value = float(given)
    else:
        return 0.0, f"{name}={given!r} is not a duration: give seconds or a timedelta"
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        return 0.0, f"{name}={given!r}: give {least} seconds, finite"
    return value, ""


def length_text(length: timedelta) -> str:
    """How long something took, by its two greatest units: "3 d 4 h", "12 min 30 s", "1.250 s", "4 ms"."""
    value = length.total_seconds()
    if abs(value) < 0.01:
        return f"{value * 1000:.2g} ms"
    if abs(value) < 1:
        return f"{value * 1000:.0f} ms"
    if abs(value) < 60:
        return f"{value:.0f} s" if value.is_integer() else f"{value:.3f} s"
    whole, parts = round(value), []
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        number, whole = divmod(whole, size)
        if number:
            parts.append(f"{number} {name}")
    return " ".join(parts[:2])


def duration_text(value: float) -> str:
    """Seconds as text with a unit, e.g. "1.5 s", "10 min", "3 d"."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= size and value % size == 0:
            return f"{value // size:.0f} {unit}"
    return f"{value:g} s"
