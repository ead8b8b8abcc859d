"""Which of the writes that became ready together fit into one transaction: at most one of each run."""

from __future__ import annotations

from typing import TypeVar

from stepflow.drivers.port.commit import Commit, Release
from stepflow.drivers.port.step import Member
from stepflow.engine.commit.pending import PendingCommit, PostedCommit

Entry = PendingCommit | PostedCommit
E = TypeVar("E", bound=Entry)


def one_per_run(entries: list[E]) -> tuple[list[E], list[E], list[E]]:
    """The commits and the releases that fit into one batch, and those whose run has a write in it already."""
    runs = {entry.run for entry in entries}
    if len(runs) == len(entries) and "" not in runs:
        return entries, [], []  # steps of as many runs
    seen: set[str] = set()
    commits: list[E] = []
    releases: list[E] = []
    later: list[E] = []
    for entry in entries:
        write = entry.write
        ids = {write.fence.id} if isinstance(write, Release) else _ids(write)
        if seen.isdisjoint(ids):
            (releases if isinstance(write, Release) else commits).append(entry)
        else:
            later.append(entry)
        seen.update(ids)
    return commits, releases, later


def _ids(member: Member) -> set[str]:
    """The runs that a commit touches."""
    if not isinstance(member, Commit):
        return {member.id}
    ids = {*member.unowned, *[write.state.id for write in member.writes], *[part.id for part in member.queue]}
    if member.fence is not None:
        ids.add(member.fence.id)
    ids.update([event.run_id for event in member.publish])
    ids.update([mark.id for mark in member.cancel])
    ids.update([pause.id for pause in member.pause])
    return ids
