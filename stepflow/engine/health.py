"""Health: how the background threads and tasks of an open engine are."""

from __future__ import annotations

from attrs import frozen

from stepflow.drivers.port.background import TaskHealth


@frozen
class Health:
    """The health of an engine at one moment: one entry per kind of background thread or task, in a fixed order.

    The names are `heartbeat`, `changes` (listens for other processes), `writer` (commits), `steps` (threads of sync
    steps), `feed` (watches), `leases` (States that a commit moved here), `pruning`, `worker`, those of the store's session, `clock` if the store
    has one, and `remote flows` (looks for hosts) with `remote=`.
    `lost_threads` counts the steps that have not ended although their `timeout` is over; with as many as the engine's
    `concurrency` a worker claims no more.
    """

    tasks: tuple[TaskHealth, ...]
    lost_threads: int = 0

    @property
    def ok(self) -> bool:
        """Whether the last turn of every thread and task succeeded."""
        return not any(task.failing for task in self.tasks)
