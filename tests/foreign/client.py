"""A client of flowstate.v1 that behaves as the driver of its origin does: what it sends, and what it takes from the answers.

It shares nothing with `stepflow` but the messages: the working copies of States are messages, commands are values of this file.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx2
from attrs import define, field, frozen

from stepflow.wire import flowstate_pb2 as pb
from tests.foreign import json_form

Form = Literal["protobuf", "json"]
Notes = dict[str, str]


class RevisionMismatch(Exception):
    """Another commit was first; the argument is the list of ids."""


class StateNotFound(Exception):
    """There is no such State."""


class Refused(Exception):
    """Any other refusal: status, code, message."""


@frozen(eq=False)
class Transit:
    ctx: pb.StateCtx
    to: str
    notes: Notes = field(factory=Notes)


@frozen(eq=False)
class Park:
    ctx: pb.StateCtx
    notes: Notes = field(factory=Notes)


@frozen(eq=False)
class Execute:
    ctx: pb.StateCtx


@frozen(eq=False)
class Delay:
    ctx: pb.StateCtx
    to: str
    at: int  # seconds since 1970
    notes: Notes = field(factory=Notes)


@frozen(eq=False)
class Noop:
    pass


@frozen(eq=False)
class Stack:
    carrier: pb.StateCtx
    stacked: pb.StateCtx
    annotation: str


@frozen(eq=False)
class Unstack:
    carrier: pb.StateCtx
    target: pb.StateCtx
    annotation: str


@frozen(eq=False)
class StoreData:
    ctx: pb.StateCtx
    alias: str


@frozen(eq=False)
class GetData:
    ctx: pb.StateCtx
    alias: str


@frozen(eq=False)
class ById:
    ctx: pb.StateCtx
    id: str
    rev: int = 0


@frozen(eq=False)
class ByLabels:
    ctx: pb.StateCtx
    labels: Notes


@define(eq=False)
class States:
    labels: tuple[Notes, ...] = ()
    since_rev: int = 0
    since_ms: int = 0
    latest_only: bool = False
    limit: int = 50
    found: list[pb.State] = field(factory=list)
    more: bool = False


@define(eq=False)
class Delayed:
    since: int
    until: int
    offset: int = 0
    limit: int = 500
    found: list[pb.DelayedState] = field(factory=list)
    more: bool = False


@frozen(eq=False)
class Commit:
    commands: tuple[Any, ...]


METHODS: dict[type, str] = {
    ById: "GetStateByID",
    ByLabels: "GetStateByLabels",
    States: "GetStates",
    Delayed: "GetDelayedStates",
    Delay: "Delay",
    Commit: "Commit",
    StoreData: "StoreData",
    GetData: "GetData",
}


def ctxs_of(command: Any) -> list[pb.StateCtx]:
    """The working copies that a command refers to, in the order in which they are listed."""
    match command:
        case Commit(commands):
            return [ctx for inner in commands for ctx in ctxs_of(inner)]
        case Stack(carrier, stacked):
            return [carrier, stacked]
        case Unstack(carrier, target):
            return [carrier, target]
        case Noop() | States() | Delayed():
            return []
        case _:
            return [command.ctx]


@define
class Message:
    """A command as a message. A State that is listed twice in a row is listed once; references mean the first place of a State."""

    message: pb.Command = field(factory=pb.Command)
    listed: list[pb.StateCtx] = field(factory=list)

    @classmethod
    def of(cls, command: Any) -> pb.Command:
        made = cls()
        ctxs = ctxs_of(command)
        made.listed = [ctx for place, ctx in enumerate(ctxs) if not place or ctxs[place - 1] is not ctx]
        for ctx in made.listed:
            copy = made.message.state_ctxs.add()
            copy.CopyFrom(ctx)
            for state in (copy.committed, copy.current):
                state.transition.SetInParent()  # written even if it is empty
        made._put(command, made.message)
        return made.message

    def _ref(self, ref: pb.StateCtxRef, ctx: pb.StateCtx) -> None:
        ref.idx = next(place for place, listed in enumerate(self.listed) if listed is ctx)

    def _put(self, command: Any, message: pb.Command) -> None:
        match command:
            case Commit(commands):
                message.commit.SetInParent()
                for inner in commands:
                    self._put(inner, message.commit.commands.add())
            case Transit(ctx, to, notes):
                message.transit.to = to
                message.transit.annotations.update(notes)
                self._ref(message.transit.state_ref, ctx)
            case Park(ctx, notes):
                message.park.annotations.update(notes)
                self._ref(message.park.state_ref, ctx)
            case Delay(ctx, to, at, notes):
                message.delay.to, message.delay.execute_at_sec, message.delay.commit = to, at, True
                message.delay.annotations.update(notes)
                self._ref(message.delay.state_ref, ctx)
            case Stack(carrier, stacked, annotation):
                message.stack.annotation = annotation
                self._ref(message.stack.carrier_state_ref, carrier)
                self._ref(message.stack.stack_state_ref, stacked)
            case Unstack(carrier, target, annotation):
                message.unstack.annotation = annotation
                self._ref(message.unstack.carrier_state_ref, carrier)
                self._ref(message.unstack.unstack_state_ref, target)
            case Noop():
                message.noop.SetInParent()
            case _:
                self._put_read(command, message)

    def _put_read(self, command: Any, message: pb.Command) -> None:
        match command:
            case StoreData(ctx, alias):
                message.store_data.alias = alias
                self._ref(message.store_data.state_ref, ctx)
            case GetData(ctx, alias):
                message.get_data.alias = alias
                self._ref(message.get_data.state_ref, ctx)
            case ById(ctx, id_, rev):
                message.get_state_by_id.id, message.get_state_by_id.rev = id_, rev
                self._ref(message.get_state_by_id.state_ref, ctx)
            case ByLabels(ctx, labels):
                message.get_state_by_labels.labels.update(labels)
                self._ref(message.get_state_by_labels.state_ref, ctx)
            case States(labels, since_rev, since_ms, latest_only, limit):
                states = message.get_states
                states.since_rev, states.since_time_usec = since_rev, since_ms
                states.latest_only, states.limit = latest_only, limit
                for group in labels:
                    states.labels.add().labels.update(group)
            case Delayed(since, until, offset, limit):
                delayed = message.get_delayed_states
                delayed.since_time_sec, delayed.until_time_sec = since, until
                delayed.offset, delayed.limit = offset, limit


def refs_of(message: pb.Command) -> list[int]:
    """The references of an answer, in the order of `ctxs_of`; each must be written."""
    kind = next(name.name for name, _ in message.ListFields() if name.name != "state_ctxs")
    if kind == "commit":
        return [ref for inner in message.commit.commands for ref in refs_of(inner)]
    names = {"stack": ("carrier", "stack"), "unstack": ("carrier", "unstack")}.get(kind, ("",))
    if kind in ("noop", "get_states", "get_delayed_states"):
        return []
    refs = [getattr(getattr(message, kind), f"{name}_state_ref" if name else "state_ref") for name in names]
    assert all(ref.HasField("idx") for ref in refs), message
    return [ref.idx for ref in refs]


def copy_ctx(source: pb.StateCtx, target: pb.StateCtx) -> None:
    """Take over an answer as the origin does: maps are merged, so a key that is gone there stays here."""
    for answered, mine in ((source.current, target.current), (source.committed, target.committed)):
        mine.id, mine.rev, mine.committed_at_unix_milli = answered.id, answered.rev, answered.committed_at_unix_milli
        mine.annotations.update(answered.annotations)
        mine.labels.update(answered.labels)
        mine.transition.CopyFrom(answered.transition)
    del target.transitions[:]
    target.transitions.extend(source.transitions)


@frozen
class Driver:
    """The driver: sends commands to a server, below a namespace, in one of the two forms."""

    http: httpx2.AsyncClient
    namespace: str
    form: Form

    async def send(self, command: Any) -> None:
        """Send one command; what the answer says is in its ctxs and in the command itself afterwards."""
        message = Message.of(command)
        answer = await self._post(f"Driver/{METHODS[type(command)]}", message)
        refs, ctxs = refs_of(answer), ctxs_of(command)
        assert len(refs) == len(ctxs)
        if isinstance(command, Commit):
            assert len(answer.commit.commands) == len(command.commands)
        for ctx, ref in zip(ctxs, refs, strict=True):
            copy_ctx(answer.state_ctxs[ref], ctx)
        for alias_of in command.commands if isinstance(command, Commit) else (command,):
            if isinstance(alias_of, StoreData | GetData):
                place = refs[next(n for n, ctx in enumerate(ctxs) if ctx is alias_of.ctx)]
                alias_of.ctx.datas[alias_of.alias].CopyFrom(answer.state_ctxs[place].datas[alias_of.alias])
        if isinstance(command, States):
            assert answer.get_states.HasField("result")
            command.found, command.more = list(answer.get_states.result.states), answer.get_states.result.more
        if isinstance(command, Delayed):
            result = answer.get_delayed_states.result
            command.found, command.more = list(result.delayed_states), result.more

    async def _post(self, method: str, message: pb.Command) -> pb.Command:
        url = f"/{self.namespace}/flowstate.v1.{method}"
        if self.form == "protobuf":  # without a content type, as the origin does it
            answer = await self.http.post(url, content=message.SerializeToString())
        else:
            body = json.dumps(json_form.dump(message))
            answer = await self.http.post(url, content=body, headers={"content-type": "application/json"})
        if answer.status_code != 200:
            raise self._error(answer)
        if self.form == "json":
            assert answer.headers["content-type"] == "application/json"
            return json_form.load(answer.json())
        assert answer.headers["content-type"] == "application/proto"
        return pb.Command.FromString(answer.content)

    def _error(self, answer: httpx2.Response) -> Exception:
        """The origin tells errors by their code and the begin of their message alone."""
        if self.form == "json":
            body = answer.json()
            code, message = body["code"], body["message"]
        else:
            error = pb.Error.FromString(answer.content)
            code, message = error.code, error.message
        if code == "not_found" and "state not found" in message:
            return StateNotFound(message)
        if code == "aborted" and message.startswith("rev mismatch: "):
            return RevisionMismatch(sorted(part.strip() for part in message.partition(": ")[2].split(",")))
        return Refused(answer.status_code, code, message)
