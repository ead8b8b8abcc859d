"""Replays: has recordings of workflows replayed by a process that is ended if a replay takes too long."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from typing import Self

from stepflow.cli.replay_process import answered, request
from stepflow.errors import StepflowError
from stepflow.replay.dry_run import Recording, Replayed

LONGEST_ANSWER = 1 << 24  # bytes; a text in it names user code
START_S = 60.0  # for the imports of the modules


class Replays:
    """`async with Replays(modules, limit_s)`: a replay that takes longer than `limit_s` seconds is given up."""

    def __init__(self, modules: tuple[str, ...], limit_s: float) -> None:
        self._modules, self._limit_s = modules, limit_s
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._end()

    async def replay(self, flow: str, recording: Recording) -> Replayed:
        """How far the present code of the workflow comes."""
        process = self._process or await self._start()
        assert process.stdin is not None
        process.stdin.write(request(flow, recording))
        try:
            line = await self._answer(process, self._limit_s)
        except TimeoutError:
            await self._end()
            text = f"the code between the calls did not end within {self._limit_s:g} s: does it wait for something outside?"
            return Replayed("fails", text, "time")
        if line:
            return answered(line)
        await self._end()
        return Replayed("fails", "the code between the calls ended its process", "exit")

    async def _start(self) -> Process:
        command = (sys.executable, "-m", "stepflow.cli.replay_process", *self._modules)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LONGEST_ANSWER, start_new_session=True
        )
        self._process = process
        try:
            ready = await self._answer(process, START_S)
        except TimeoutError:
            ready = b""
        if not ready:
            await self._end()
            raise StepflowError(
                f"{', '.join(self._modules)}: the import in a process of its own did not end well: it must not depend on this one's state"
            )
        return process

    async def _answer(self, process: Process, limit_s: float) -> bytes:
        """A line; empty if the process ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        async with asyncio.timeout(limit_s):
            try:
                await process.stdin.drain()
            except ConnectionError:
                return b""
            return await process.stdout.readline()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
