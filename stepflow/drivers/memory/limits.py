"""Flow control of one namespace: when the runs of a key began, and which deduplication keys hold."""

from __future__ import annotations

from collections.abc import Container, Iterable

from attrs import define, field

from stepflow.drivers.port.commit import DedupKey
from stepflow.model.lifecycle import QueueRow
from stepflow.model.limits import LimitUsage, rated


@define
class MemoryLimits:
    """What claims and starts leave behind for those that come later."""

    begun: dict[str, list[int]] = field(factory=dict)  # by key, microseconds
    reserved: dict[str, DedupKey] = field(factory=dict)

    def limit_usage(self, held: Iterable[tuple[str, QueueRow]]) -> LimitUsage:
        """What stands against limits, given the rows that are held."""
        found = LimitUsage(begun={key: list(times) for key, times in self.begun.items()})
        for run_id, row in held:
            found.holds(row.limits, run_id)
        return found

    def begins(self, limits: str, now: int) -> None:
        """A run with these limits was claimed; forget what no period reaches back to."""
        for limit in rated(limits):
            kept = [at for at in self.begun.get(limit.key, ()) if at > now - limit.per_us]
            self.begun[limit.key] = sorted([*kept, now])

    def reserved_by(self, dedup: DedupKey, now: int, runs: Container[str]) -> dict[str, str]:
        """The run that was started with this key, by the key, if the key holds."""
        found = self.reserved.get(dedup.key)
        return {} if found is None or found.until <= now or found.run_id not in runs else {dedup.key: found.run_id}

    def forget(self, before: int) -> None:
        """Drop what was over before this time."""
        self.begun = {key: times for key, times in self.begun.items() if times[-1] >= before}
        self.reserved = {key: dedup for key, dedup in self.reserved.items() if dedup.until >= before}
