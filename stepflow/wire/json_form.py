"""to_json_value: the one JSON form of what callers see of runs and schedules, for the command line and the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs


def to_json_value(value: Any) -> Any:
    """A value as JSON types: attrs objects as dicts, times as ISO 8601 with their offset, in UTC `Z`, durations as ISO 8601 in seconds, e.g. `PT90S`."""
    if attrs.has(type(value)):
        return {a.name: to_json_value(getattr(value, a.name)) for a in attrs.fields(type(value))}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        seconds, micros = divmod(value // timedelta(microseconds=1), 1_000_000)
        return f"PT{seconds}{f'.{micros:06}'.rstrip('0') if micros else ''}S"
    if isinstance(value, Mapping):
        return {str(k): to_json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(v) for v in value]
    return value if isinstance(value, int | float | None) else str(value)
