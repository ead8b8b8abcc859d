"""The schedules of a namespace: by id and by due time."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from itertools import islice, takewhile

from attrs import define, field

from stepflow.drivers.port.schedules import ScheduleQuery, ScheduleRow


@define
class MemorySchedules:
    """A look at what is due costs the rows that it finds, however many there are."""

    _rows: dict[str, ScheduleRow] = field(factory=dict)
    _due: list[tuple[int, str]] = field(factory=list)  # (due, id), sorted

    def get(self, schedule_id: str) -> ScheduleRow | None:
        """The schedule of this id."""
        return self._rows.get(schedule_id)

    def write(self, changed: Mapping[str, ScheduleRow | None]) -> None:
        """Replace schedules, or delete them (None)."""
        for schedule_id, row in changed.items():
            old = self._rows.pop(schedule_id, None)
            if old is not None and old.due is not None:
                del self._due[bisect_left(self._due, (old.due, old.id))]
            if row is not None:
                self._rows[schedule_id] = row
                if row.due is not None:
                    insort(self._due, (row.due, row.id))

    def read(self, query: ScheduleQuery) -> list[ScheduleRow]:
        """The rows that the query asks for."""
        if query.id is not None:
            row = self.get(query.id)
            return [] if row is None else [row]
        if (until := query.until) is not None:
            ids = (schedule_id for _due, schedule_id in takewhile(lambda one: one[0] <= until, self._due))
            return [self._rows[schedule_id] for schedule_id in islice(ids, query.limit)]
        found = sorted(schedule_id for schedule_id in self._rows if schedule_id > query.after)
        return [self._rows[schedule_id] for schedule_id in found[: query.limit]]

    def first(self) -> int | None:
        """When the first of them is due."""
        return self._due[0][0] if self._due else None
