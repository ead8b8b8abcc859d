"""replay_process: replays recordings of workflows, one line of JSON for each on the standard input, and answers with a line.

The verb `check` starts it as a process of its own: the code between the calls of a workflow is called, and it may not end, or
end the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from functools import partial
from typing import Any, BinaryIO

from stepflow.cli.definitions import flows_of
from stepflow.drivers.port.commit import Event
from stepflow.drivers.port.journal import JournalRow
from stepflow.engine import step_failure
from stepflow.engine.clock import SystemClock
from stepflow.model.current import Current, enter
from stepflow.replay.async_context import AsyncContext
from stepflow.replay.context import Context
from stepflow.replay.dry_run import DryRun, Recording, Replayed, unreadable
from stepflow.replay.workflow import Workflow


def request(flow: str, found: Recording) -> bytes:
    """The line that asks for the replay of a recording."""
    events = [(e.name, e.id, e.payload, e.published_at, e.seq) for e in found.events]
    return (
        json.dumps([flow, found.run_id, found.exchange, found.failed_call, list(found.rows), events]).encode() + b"\n"
    )


def answered(line: bytes) -> Replayed:
    """What the answer says."""
    return Replayed(*json.loads(line))


def main(modules: list[str]) -> None:
    """Answer until the end of the input; the workflows read and print nothing."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    for stream, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, mode), stream)
    flows = {flow.name: flow for module in modules for flow in flows_of(module) if isinstance(flow, Workflow)}
    _answer(answers, "ready", "", "")
    for line in requests:
        flow, run_id, text, failed_call, rows, events = json.loads(line)
        recording = Recording(
            run_id, text, [JournalRow(*row) for row in rows], [Event(run_id, *event) for event in events], failed_call
        )
        found = _replay(flows[flow], recording)
        _answer(answers, found.verdict, found.text, found.cause)


def _answer(answers: BinaryIO, *parts: str) -> None:
    answers.write(json.dumps(parts).encode() + b"\n")
    answers.flush()


def _replay(workflow: Workflow[Any, Any], recording: Recording) -> Replayed:
    if workflow.is_async:
        return asyncio.run(_replay_async(workflow, recording))
    dry_run = _dry_run(workflow, recording, threading.get_ident)
    try:
        value = dry_run.value()
    except Exception as error:  # noqa: BLE001 - CodecError, and what user classes raise
        return unreadable(error)
    try:
        output = workflow.call(Context(dry_run.journal, dry_run.perform), value)
    except BaseException as error:  # noqa: BLE001 - how the function ended is what is asked for
        return dry_run.replayed(None, error)
    return dry_run.replayed(output, None)


async def _replay_async(workflow: Workflow[Any, Any], recording: Recording) -> Replayed:
    dry_run = _dry_run(workflow, recording, partial(asyncio.current_task))
    try:
        value = dry_run.value()
    except Exception as error:  # noqa: BLE001 - CodecError, and what user classes raise
        return unreadable(error)
    try:
        output = await workflow.call(AsyncContext(dry_run.journal, dry_run.aperform), value)
    except BaseException as error:  # noqa: BLE001 - how the function ended is what is asked for
        return dry_run.replayed(None, error)
    return dry_run.replayed(output, None)


def _dry_run(workflow: Workflow[Any, Any], recording: Recording, home: Any) -> DryRun:
    enter(Current(recording.run_id, workflow.name))
    now = SystemClock().now()
    return DryRun(workflow, recording, home, step_failure.restored, now, asyncio.CancelledError)


if __name__ == "__main__":
    main(sys.argv[1:])
