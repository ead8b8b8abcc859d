"""schedule: the record of a schedule, and what a worker does when it looks at one: start a run, skip ticks, keep them for later."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Literal

import attrs
from attrs import evolve, field, frozen

from stepflow.errors import StepflowError
from stepflow.model.codec import SEALED, UNOPENED, Unopened, tags_of
from stepflow.model.timetable import SECOND, Times, jitter_of, last_before, tick_text, times_of

SCHEDULE = "stepflow.schedule"  # label of a run: the id of the schedule that started it
FORMAT = 1
GRACE = 60 * SECOND  # a tick that is noticed so late counts as noticed in time
MANY = 100  # ticks that one look takes up
MOST_QUEUED = 1000
MOST_ACTIVE = 1000  # runs of which is known that they may not have ended
FIRST_POLL, LAST_POLL = SECOND, 300 * SECOND  # between two looks for the end of a run behind which ticks are queued
Overlap = Literal["skip", "queue", "cancel"]
OVERLAPS = ("skip", "queue", "cancel")


@frozen(kw_only=True)
class ScheduleRecord:
    """A schedule; times are microseconds UTC, durations microseconds.

    `to` and `notes` are the first transition of a run, `limit` the time limit of its first wait (0: none), `run_timeout` that of the run
    (0: none), `exchange` its input as text. `cron` is empty for an interval. `tick` is the next tick (None: there is none any more), `last` the last one
    that started a run, `last_run` that run, `skipped` the last one that did not, and `why`. `queued` are ticks that wait for
    the end of the runs in `active`.
    """

    id: str
    flow: str
    to: str
    notes: dict[str, str]
    limit: int
    exchange: str
    input_hash: str
    cron: str
    every: int
    tz: str
    anchor: int
    overlap: Overlap
    catch_up: int
    jitter: int
    labels: dict[str, str]
    priority: int
    created_at: int
    paused: bool = False
    tick: int | None = None
    last: int | None = None
    last_run: str = ""
    skipped: int | None = None
    why: str = ""
    queued: tuple[int, ...] = ()
    active: tuple[str, ...] = ()
    run_timeout: int = 0

    @property
    def times(self) -> Times:
        """Its ticks."""
        return _times(self.cron, self.every, self.tz, self.anchor)

    @property
    def unreadable(self) -> str:
        """Why no run can be started with its input here; empty if one can."""
        if self.exchange[:1] != SEALED:
            return ""
        return f"{UNOPENED}; the input of the schedule has the stages {tags_of(self.exchange)}"

    @property
    def timing(self) -> tuple[str, int, str]:
        """What decides its ticks, beside the anchor."""
        return self.cron, self.every, self.tz

    def run_id(self, tick: int) -> str:
        """The id of the run of a tick."""
        return f"{self.id}@{tick_text(tick)}"

    def at(self, tick: int) -> int:
        """When a tick is to be fired: it and its jitter."""
        return tick + jitter_of(self.id, tick, self.jitter)

    def due(self, now: int) -> int | None:
        """When a worker shall look at it next; None if it is paused, or has no ticks any more."""
        if self.paused:
            return None
        dues = [] if self.tick is None else [self.at(self.tick)]
        if self.queued:
            dues.append(now + min(max((now - self.queued[0]) // 4, FIRST_POLL), LAST_POLL))
        return min(dues, default=None)

    def started(self, *run_ids: str) -> ScheduleRecord:
        """With runs that may not have ended."""
        known = dict.fromkeys((*self.active, *run_ids))
        return evolve(self, active=tuple(known)[-MOST_ACTIVE:])

    def backfilled(self, *run_ids: str) -> ScheduleRecord:
        """With these runs of ticks of the past, which the next tick does not cancel: they are as much wanted as its own run."""
        return self if self.overlap == "cancel" else self.started(*run_ids)


_times = lru_cache(maxsize=256)(times_of)
NAMES = tuple(one.name for one in attrs.fields(ScheduleRecord))


def dump_schedule(record: ScheduleRecord) -> str:
    """The stored form, JSON."""
    fields = {name: getattr(record, name) for name in NAMES if name != "run_timeout" or record.run_timeout}
    return json.dumps({"format": FORMAT, **fields}, separators=(",", ":"))


def parse_schedule(text: str) -> ScheduleRecord:
    """The record of a stored form. Raises StepflowError for one of a newer version of the library, CodecError for one whose key is not here."""
    if text[:1] == SEALED:  # as a whole, by a version before the first release
        raise Unopened(f"a schedule is stored sealed: {UNOPENED}")
    fields = json.loads(text)
    if (found := fields.pop("format")) != FORMAT:
        raise StepflowError(
            f"a schedule is stored in format {found}, this version reads {FORMAT}: update stepflow here"
        )
    return ScheduleRecord(**{**fields, "queued": tuple(fields["queued"]), "active": tuple(fields["active"])})


@frozen
class Look:
    """What a look decides: the record after it, the tick whose run it starts, and the runs that it cancels first."""

    record: ScheduleRecord
    fire: int | None = None
    cancel: tuple[str, ...] = ()
    skipped: tuple[int, ...] = field(default=())
    missed: tuple[int, int] | None = None  # the first tick that was missed, and the first one that was not looked for


def look(record: ScheduleRecord, now: int, ended: Collection[str]) -> Look:
    """What is to be done at `now`; `ended` are runs of `record.active` that ended. One run is started at most."""
    record, missed = without_missed(record, now)
    due: list[int] = []
    tick = record.tick
    while tick is not None and record.at(tick) <= now and len(due) < MANY:
        due.append(tick)
        tick = record.times.after(tick)
    active = tuple(run for run in record.active if run not in ended)
    decided = _decide(evolve(record, tick=tick, active=active), due)
    return decided if missed is None else evolve(decided, missed=missed)


def without_missed(record: ScheduleRecord, now: int) -> tuple[ScheduleRecord, tuple[int, int] | None]:
    """Without the ticks that no worker noticed until their catch-up window was over: the first of them, and the end of the missed time."""
    oldest = now - GRACE - record.catch_up - record.jitter
    if record.tick is None or record.tick >= oldest:
        return record, None
    tick = record.times.after(oldest - 1)
    skipped = last_before(record.times, record.tick, oldest)
    return evolve(record, tick=tick, skipped=skipped, why=why_missed(record)), (record.tick, oldest)


def why_missed(record: ScheduleRecord) -> str:
    """Why ticks are missed."""
    return f"no worker looked at it within {_seconds(GRACE + record.catch_up + record.jitter)} (catch_up=)"


def _decide(record: ScheduleRecord, due: Sequence[int]) -> Look:
    ticks = (*record.queued, *due)  # with another rule than "queue" some may be left from the time when it was that
    if record.overlap == "queue":
        kept, dropped = ticks[:MOST_QUEUED], ticks[MOST_QUEUED:]
        record = _skip(record, dropped, f"{MOST_QUEUED} ticks are queued already")
        if record.active or not kept:
            return Look(evolve(record, queued=kept), skipped=dropped)
        return Look(_fired(evolve(record, queued=kept[1:]), kept[0]), kept[0], skipped=dropped)
    record = evolve(record, queued=())
    if not ticks:
        return Look(record)
    if record.overlap == "cancel":
        record = _skip(record, ticks[:-1], "a later tick was due, too")
        cancelled = record.active
        return Look(_fired(evolve(record, active=()), ticks[-1]), ticks[-1], cancelled, ticks[:-1])
    if record.active:
        return Look(_skip(record, ticks, f"run {record.active[-1]!r} had not ended"), skipped=ticks)
    fired = _fired(record, ticks[0])
    return Look(_skip(fired, ticks[1:], f"run {fired.last_run!r} had not ended"), ticks[0], skipped=ticks[1:])


def _fired(record: ScheduleRecord, tick: int) -> ScheduleRecord:
    run_id = record.run_id(tick)
    return evolve(record.started(run_id), last=tick, last_run=run_id)


def _skip(record: ScheduleRecord, ticks: Sequence[int], why: str) -> ScheduleRecord:
    return evolve(record, skipped=ticks[-1], why=why) if ticks else record


def _seconds(micros: int) -> str:
    return f"{micros / SECOND:g} s"
