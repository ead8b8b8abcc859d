"""An engine over a foreign client: it carries out the commands of flow functions in its own memory, and sends what is for the driver."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

from stepflow.engine.states.checksum import xxhash64
from stepflow.wire import flowstate_pb2 as pb
from tests.foreign.client import (
    ById,
    Commit,
    Delayed,
    Driver,
    Execute,
    GetData,
    Noop,
    Park,
    RevisionMismatch,
    Stack,
    StateNotFound,
    States,
    StoreData,
    Transit,
    Unstack,
)

Flow = Callable[[pb.StateCtx], Awaitable[Any]]
POLL_S = 0.01
LIMIT_S = 60.0  # for what takes milliseconds on a machine that does nothing else
BEGIN = 1_000_000_000  # the time of this client's own clock, in seconds
META = "flowstate.delayer.meta"
CHECKSUM = "checksum/xxhash64"


def ctx_of(id_: str, **maps: dict[str, str]) -> pb.StateCtx:
    """The working copy of a new State."""
    return pb.StateCtx(current=pb.State(id=id_, **maps))


def copy_of(ctx: pb.StateCtx) -> pb.StateCtx:
    """A deep copy."""
    made = pb.StateCtx()
    made.CopyFrom(ctx)
    return made


def forked(ctx: pb.StateCtx, id_: str) -> pb.StateCtx:
    """A copy that becomes another State."""
    made = copy_of(ctx)
    made.current.id, made.current.rev = id_, 0
    made.ClearField("committed")
    return made


def note(ctx: pb.StateCtx, name: str) -> str:
    """An annotation: that of the transition wins."""
    transition = ctx.current.transition.annotations
    return transition[name] if name in transition else ctx.current.annotations.get(name, "")


def _move(ctx: pb.StateCtx, to: str, notes: dict[str, str]) -> None:
    ctx.transitions.add().CopyFrom(ctx.current.transition)
    ctx.current.transition.Clear()
    ctx.current.transition.to = to
    ctx.current.transition.annotations.update(notes)


@define
class Engine:
    """Executes flow functions; what they did is in `visited`."""

    driver: Driver
    flows: dict[str, Flow] = field(factory=dict)
    visited: list[str] = field(factory=list)
    now: int = BEGIN
    _tasks: set[asyncio.Task[None]] = field(factory=set)
    _offset: int = 0
    _news: asyncio.Condition = field(factory=asyncio.Condition)

    def flow(self, name: str) -> Callable[[Flow], Flow]:
        """Register a flow function."""

        def register(function: Flow) -> Flow:
            self.flows[name] = function
            return function

        return register

    async def visit(self, text: str) -> None:
        """Remember what happened, for `until`."""
        async with self._news:
            self.visited.append(text)
            self._news.notify_all()

    async def until(self, number: int) -> None:
        """Wait for so many visits."""
        async with asyncio.timeout(LIMIT_S), self._news:
            await self._news.wait_for(lambda: len(self.visited) >= number)

    async def do(self, *commands: Any) -> None:
        """Carry out commands, one after the other."""
        for command in commands:
            await self._do(command)

    async def _do(self, command: Any) -> None:
        match command:
            case Transit(ctx, to, notes):
                _move(ctx, to, notes)
            case Park(ctx, notes):
                _move(ctx, "", notes)
            case Stack(carrier, stacked, annotation):
                raw = stacked.SerializeToString()
                carrier.current.annotations[annotation] = base64.b64encode(raw).decode()
            case Unstack(carrier, target, annotation):
                target.ParseFromString(base64.b64decode(carrier.current.annotations[annotation]))
                carrier.current.annotations[annotation] = ""
            case Execute(ctx):
                task = asyncio.ensure_future(self.execute(copy_of(ctx)))
                self._tasks.add(task)
            case StoreData(ctx, alias):
                await self._store(ctx, alias, command)
            case GetData(ctx, alias):
                await self._load(ctx, alias, command)
            case Noop():
                pass
            case _:
                await self.driver.send(command)

    async def _store(self, ctx: pb.StateCtx, alias: str, command: StoreData) -> None:
        data = ctx.datas[alias]
        if data.rev == 0 or data.annotations[CHECKSUM] != str(xxhash64(data.blob.encode())):
            data.annotations[CHECKSUM] = str(xxhash64(data.blob.encode()))
            await self.driver.send(command)
        ctx.current.annotations[f"flowstate.data.{alias}"] = str(ctx.datas[alias].rev)

    async def _load(self, ctx: pb.StateCtx, alias: str, command: GetData) -> None:
        rev = int(ctx.current.annotations[f"flowstate.data.{alias}"])
        if alias in ctx.datas and ctx.datas[alias].rev == rev:
            return
        ctx.datas[alias].Clear()
        ctx.datas[alias].rev = rev
        await self.driver.send(command)

    async def execute(self, ctx: pb.StateCtx) -> None:
        """Call flow functions until one stops; a commit that another one has overtaken ends it, too."""
        while True:
            command = await self.flows[ctx.current.transition.to](ctx)
            try:
                await self._do(Noop() if isinstance(command, Execute) else command)
            except RevisionMismatch:
                return
            if isinstance(command, Commit):
                (command,) = command.commands
            if not isinstance(command, Transit | Execute):
                return
            ctx = command.ctx

    async def watch(self, *labels: dict[str, str], since: int = 0) -> AsyncIterator[pb.State]:
        """Revisions in order, for ever."""
        command = States(labels, since)
        while True:
            await self.driver.send(command)
            for state in command.found:
                assert state.committed_at_unix_milli > 0
                command.since_rev = state.rev
                yield state
            if not command.more:
                await asyncio.sleep(POLL_S)  # the origin has nothing but polls, every 0.1 s

    async def start_delayer(self) -> None:
        """Read or make the State that remembers how far the delays are done."""
        meta = ctx_of(META)
        try:
            await self.driver.send(ById(meta, META))
        except StateNotFound:
            since = datetime.fromtimestamp(0, UTC).isoformat()
            meta.current.annotations.update({"flowstate.delayer.offset": "0", "flowstate.delayer.since": since})
            await self.driver.send(Commit((Park(meta),)))

    async def pass_time(self, seconds: int) -> None:
        """Let this client's clock go on, and execute what is due then."""
        self.now += seconds
        command = Delayed(BEGIN - 86_400, self.now, self._offset)
        await self.driver.send(command)
        assert not command.more
        for delayed in command.found:
            assert delayed.execute_at_sec <= self.now
            assert delayed.offset > self._offset
            self._offset = delayed.offset
            ctx = pb.StateCtx(current=delayed.state)
            if delayed.state.rev:
                ctx.committed.CopyFrom(delayed.state)
            transition = delayed.state.transition
            try:
                await self.do(Commit((Transit(ctx, transition.to, dict(transition.annotations)),)), Execute(ctx))
            except RevisionMismatch:
                continue

    async def stop(self) -> None:
        """Wait for what ends by itself, and cancel the rest; its errors are raised."""
        meta = ctx_of(META)
        with suppress(StateNotFound):
            await self.driver.send(ById(meta, META))
            meta.current.annotations["flowstate.delayer.offset"] = str(self._offset)
            await self.driver.send(Commit((Park(meta),)))
        for task in self._tasks:
            if not task.done():
                task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
