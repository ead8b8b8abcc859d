"""limits: the limits of a run, and the function that decides whether it may be claimed now."""

from __future__ import annotations

import json
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from attrs import define, field, frozen

from stepflow.model.cache import BoundedCache, size_of_texts
from stepflow.model.keywords import keywords
from stepflow.model.state import DAMAGED

MICRO = 1_000_000
LONGEST_KEY = 200  # characters
LARGEST, LONGEST_S = 1_000_000, 31 * 86_400.0


def _key(_instance: object, _attribute: object, value: Any) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_KEY or not value.isprintable():
        raise ValueError(
            f"key={value!r:.80}: give a printable text of 1 to {LONGEST_KEY} characters, e.g. 'tenant/acme'"
        )


def _number(_instance: object, attribute: Any, value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST):
        raise ValueError(f"{attribute.name}={value!r:.80}: give a whole number from 1 to {LARGEST:,}, or leave it out")


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _period(_instance: object, _attribute: object, value: Any) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0.001 <= value <= LONGEST_S
    if not good:
        raise ValueError(f"per={value!r:.80}: give seconds or a timedelta, from a millisecond to 31 days")


@keywords()
@frozen
class Limit:
    """A limit that all runs started with the same `key` share, over all flows and workers of a namespace.

    `concurrency`: workers hold at most so many of them at a time; one that sleeps, waits or is parked is not held.
    `rate` and `per` (seconds or timedelta): at most `rate` of them start within any `per` seconds. Raises ValueError.
    """

    key: str = field(validator=_key)
    concurrency: int | None = field(default=None, validator=_number)
    rate: int | None = field(default=None, validator=_number, kw_only=True)
    per: float = field(default=1.0, converter=_seconds, validator=_period, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.concurrency is None and self.rate is None:
            raise ValueError(f"Limit({self.key!r}) limits nothing: give concurrency=, or rate= and per=")

    @property
    def per_us(self) -> int:
        """The period in microseconds."""
        return round(self.per * MICRO)

    def wider(self, other: Limit | None) -> Limit:
        """A limit with the larger rate and the longer period of this limit and another one of the same key."""
        if other is None or other.rate is None or self.rate is None:
            return self
        return Limit(self.key, rate=max(self.rate, other.rate), per=max(self.per, other.per))


def dump(limits: Iterable[Limit]) -> str:
    """The canonical text of limits, sorted by key; empty for none. Runs with equal texts share a partition of the queue."""
    rows = [[one.key, one.concurrency, *(() if one.rate is None else (one.rate, one.per_us))] for one in limits]
    return json.dumps(sorted(rows, key=lambda row: str(row[0])), ensure_ascii=False) if rows else ""


def _unreadable() -> Limit:
    limit = Limit("(the stored limits cannot be read)", 1)
    object.__setattr__(limit, "concurrency", 0)
    return limit


UNREADABLE = (_unreadable(),)
"""Stands for a text of limits that cannot be read: it admits no run."""


def _parsed(text: str) -> tuple[Limit, ...]:
    try:
        return _read(text)
    except DAMAGED:
        return UNREADABLE


def _read(text: str) -> tuple[Limit, ...]:
    rows = json.loads(text) if text else ()
    return tuple(Limit(row[0], row[1], **({"rate": row[2], "per": row[3] / MICRO} if row[2:] else {})) for row in rows)


_limits = BoundedCache(_parsed, lambda text, _parsed: 10 * size_of_texts(text), 16_384, 16 << 20)


def parse(text: str) -> tuple[Limit, ...]:
    """The limits of a text; UNREADABLE for one that is none."""
    return _limits[text]


def _kept(text: str) -> str:
    if not text or parse(text) is UNREADABLE:
        return text
    return dump(Limit(limit.key, limit.concurrency) for limit in parse(text) if limit.concurrency is not None)


_kept_texts = BoundedCache(_kept, size_of_texts, 16_384, 16 << 20)


def after_start(text: str) -> str:
    """What still holds for a run that has begun: its rates are over, its shares of concurrency stay."""
    return _kept_texts[text]


@frozen
class Admission:
    """How many more runs may be claimed now. If none: the `limit` that refuses, and until when (None: until one is released)."""

    free: int
    limit: Limit | None = None
    until: int | None = None


@define
class LimitUsage:
    """The current use of limits by key: ids of the runs that are held, and times (microseconds, ascending) of the latest starts."""

    held: dict[str, list[str]] = field(factory=dict)
    begun: dict[str, list[int]] = field(factory=dict)

    def holds(self, text: str, run_id: str) -> None:
        """Count a held run with these limits."""
        for limit in parse(text):
            self.held.setdefault(limit.key, []).append(run_id)

    def of(self, text: str, now: int) -> LimitUsage:
        """The part of the usage that is relevant to these limits at `now`."""
        held = {limit.key: self.held.get(limit.key, []) for limit in parse(text)}
        return LimitUsage(held, {limit.key: self.recent(limit, now) for limit in rated(text)})

    def count(self, limit: Limit, now: int) -> int:
        """How many starts are within the period of a limit at `now`."""
        times = self.begun.get(limit.key, ())
        return len(times) - bisect_right(times, now - limit.per_us)

    def recent(self, limit: Limit, now: int) -> list[int]:
        """These starts."""
        times = self.begun.get(limit.key, [])
        return times[bisect_right(times, now - limit.per_us) :]

    def takes(self, text: str, run_id: str, now: int) -> None:
        """Count a run with these limits that is claimed at `now`."""
        self.holds(text, run_id)
        for limit in rated(text):
            insort(self.begun.setdefault(limit.key, []), now)


def rated(text: str) -> Sequence[Limit]:
    """The limits in a text that have a rate."""
    return [limit for limit in parse(text) if limit.rate is not None] if text else ()


def admission(text: str, limit_usage: LimitUsage, now: int) -> Admission:
    """Decide how many runs with these limits may be claimed at `now`. Every claim and `explain` use this function."""
    free, refusal = LARGEST, None
    for limit in parse(text):
        if limit.concurrency is not None:
            left = limit.concurrency - len(limit_usage.held.get(limit.key, ()))
            if left <= 0:
                return Admission(0, limit)
            free = min(free, left)
        if limit.rate is not None:
            left = limit.rate - limit_usage.count(limit, now)
            if left <= 0:
                until = limit_usage.begun[limit.key][-limit.rate] + limit.per_us
                if refusal is None or refusal.until is None or until > refusal.until:
                    refusal = Admission(0, limit, until)
            free = min(free, left)
    return refusal or Admission(free)


def due_of(first_due: int, text: str, limit_usage: LimitUsage, now: int) -> int | None:
    """When the first run with these limits, due at `first_due`, may be claimed; None: when another one is released."""
    if first_due > now or not text:
        return first_due
    found = admission(text, limit_usage, now)
    return first_due if found.free else found.until
