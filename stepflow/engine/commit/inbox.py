"""Inbox: what waits to be written: writes, jobs between two batches, and commits that the threads of sync steps posted."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from attrs import define, field

from stepflow.engine.commit.batch import Entry
from stepflow.engine.commit.pending import CalledBack, PendingCommit, PostedCommit

MAX_BATCH = 1024
MORE: Any = object()  # behind a batch: nothing that has to be done alone


@define(eq=False)
class Job:
    """Another kind of write, and its waiter."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    future: asyncio.Future[Any]


@define(eq=False)
class Inbox:
    """`sent` is for the writer, None: the end. `posted` is for the thread of sync steps that writes, or for the writer."""

    sent: deque[list[PendingCommit] | CalledBack | Job | None] = field(init=False, factory=deque)
    posted: deque[PostedCommit] = field(init=False, factory=deque)

    def gather(self, carry: list[Entry]) -> tuple[list[Entry], Any]:
        """All writes that are there now behind those of `carry`, and what came behind them: a Job, None to end, or `MORE`."""
        batch, posted, sent = carry[:], self.posted, self.sent
        with suppress(IndexError):
            while len(batch) < MAX_BATCH:
                batch.append(posted.popleft())
        with suppress(IndexError):
            while True:  # one at least: steps may post a full batch again and again
                item = sent.popleft()
                if item is None or isinstance(item, Job):
                    return batch, item
                if isinstance(item, list):
                    batch += item
                else:
                    batch.append(item)
                if len(batch) >= MAX_BATCH:
                    break
        return batch, MORE

    def empty(self) -> Iterator[Entry | Job]:
        """Take what is there, one by one; another thread may do the same."""
        with suppress(IndexError):
            while True:
                yield self.posted.popleft()
        with suppress(IndexError):
            while True:
                item = self.sent.popleft()
                if isinstance(item, list):
                    yield from item
                elif item is not None:
                    yield item
