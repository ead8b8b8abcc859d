"""flowstate.v1 commands to commands of the model, and their outcome back into the message that asked.

A message lists the States of its commands once, and commands refer to them by index. Two references with the same index are the
same State. A peer may list a State several times; then it refers to the first place, and takes the answer from each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from attrs import Factory, define
from google.protobuf.unknown_fields import UnknownFieldSet

from stepflow.errors import StepflowError
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.wire import flowstate_pb2 as pb
from stepflow.wire.flowstate_json import COMMANDS, BadMessage
from stepflow.wire.flowstate_values import complete, ctx_of, notes_of, put_ctx

LIMIT = 50  # of GetStates without one
DELAYED_LIMIT = 500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBERS = {pb.Command.DESCRIPTOR.fields_by_name[name].number: name for name in COMMANDS}
_REFS = {
    "stack": ("carrier_state_ref", "stack_state_ref"),
    "unstack": ("carrier_state_ref", "unstack_state_ref"),
    "noop": (),
    "get_states": (),
    "get_delayed_states": (),
}  # of the other commands it is `state_ref`


def type_name(kind: str) -> str:
    """The name of a command in error texts, which is that of its origin."""
    if not kind:
        return "<nil>"
    return f"*flowstate.{getattr(pb.Command(), kind).DESCRIPTOR.name}"


def keep_first(message: pb.Command, raw: bytes) -> None:
    """Of several commands in one message the first on the wire is meant; `raw` is what the message was read from."""
    if len([name for name in COMMANDS if message.HasField(name)]) < 2:
        return
    fields = UnknownFieldSet(
        pb.NoopCommand.FromString(raw)
    )  # a message without fields of its own: they come in their order
    for place in range(len(fields)):
        if (first := _NUMBERS.get(fields[place].field_number)) is not None:
            for name in COMMANDS:
                if name != first:
                    message.ClearField(name)
            return


def kind_of(message: pb.Command) -> str:
    """The name of the command that is set; empty if none is."""
    return next((name for name in COMMANDS if message.HasField(name)), "")


@define
class CommandMessage:
    """A message, and the working copies of the States that it lists."""

    message: pb.Command
    ctxs: list[StateCtx] = Factory(lambda self: [ctx_of(item) for item in self.message.state_ctxs], takes_self=True)

    def ctx(self, ref: pb.StateCtxRef) -> StateCtx:
        """The State that a command refers to."""
        if not 0 <= ref.idx < len(self.ctxs):
            raise BadMessage(f"a command refers to State {ref.idx}, and {len(self.ctxs)} are listed")
        return self.ctxs[ref.idx]

    def commands(self) -> list[c.Command]:
        """The commands of a commit."""
        return [self._inside(item) for item in self.message.commit.commands]

    def _inside(self, message: pb.Command) -> c.Command:
        kind = kind_of(message)
        try:
            command = self.command(message, kind)
            return c.CommitCommand((command,)).commands[0]
        except StepflowError as error:
            raise BadMessage(f"{type_name(kind)}: do: {error}") from None

    def command(self, message: pb.Command, kind: str) -> c.Command:
        """One command of the model; StepflowError or BadMessage for one that cannot be meant."""
        part: Any = getattr(message, kind) if kind else None
        refs = (
            [self.ctx(getattr(part, name)) for name in _REFS.get(kind, ("state_ref",))]
            if kind not in ("", "commit")
            else []
        )
        match kind:
            case "transit":
                return c.Transit(refs[0], part.to, notes_of(part.annotations))
            case "park":
                return c.Park(refs[0], notes_of(part.annotations))
            case "execute":
                return c.Execute(refs[0])
            case "delay":
                when = moment_of(part.execute_at_sec, "execute_at_sec")
                return c.DelayCommand(refs[0], part.to, when, notes_of(part.annotations), part.commit)
            case "noop":
                return c.Noop()
            case "stack":
                return c.Stack(refs[0], refs[1], part.annotation)
            case "unstack":
                return c.Unstack(refs[0], refs[1], part.annotation)
            case "store_data":
                return c.StoreData(refs[0], part.alias)
            case "get_data":
                return c.GetData(refs[0], part.alias)
            case "get_state_by_id":
                return c.GetStateByID(refs[0], part.id, part.rev)
            case "get_state_by_labels":
                return c.GetStateByLabels(refs[0], notes_of(part.labels))
            case "get_states":
                return get_states(part)
            case "get_delayed_states":
                return get_delayed(part)
            case "commit":
                raise StepflowError("commit command not allowed inside another commit")
            case _:
                raise BadMessage("a commit contains something that is no command")

    def answer(self) -> None:
        """Let the message say what became of the States."""
        refs = [ref.idx for ref in _refs(self.message)]
        for index in set(refs):
            put_ctx(self.ctxs[index], self.message.state_ctxs[index])
        listed = [index for place, index in enumerate(refs) if not place or refs[place - 1] != index]
        if len(listed) == len(self.message.state_ctxs):  # as peers list them, some several times
            for place, index in enumerate(listed):
                put_ctx(self.ctxs[index], self.message.state_ctxs[place])
        for item in self.message.state_ctxs:
            complete(item)


def _refs(message: pb.Command) -> Iterator[pb.StateCtxRef]:
    kind = kind_of(message)
    if kind == "commit":
        for inner in message.commit.commands:
            yield from _refs(inner)
    elif kind:
        for name in _REFS.get(kind, ("state_ref",)):
            ref: pb.StateCtxRef = getattr(getattr(message, kind), name)
            ref.idx = ref.idx  # written even if it is 0
            yield ref


def get_states(message: pb.GetStatesCommand) -> c.GetStates:
    """The query of a message; its `since_time_usec` is milliseconds."""
    since = None
    if message.since_time_usec:
        since = moment_of(message.since_time_usec, "since_time_usec", "milliseconds")
    message.limit = message.limit or LIMIT
    groups = tuple(notes_of(group.labels) for group in message.labels)
    return c.GetStates(groups, message.since_rev, since, message.latest_only, message.limit)


def get_delayed(message: pb.GetDelayedStatesCommand) -> c.GetDelayedStates:
    """The query of a message, in seconds; without an end it ends now."""
    since = moment_of(message.since_time_sec, "since_time_sec") if message.since_time_sec else None
    until = moment_of(message.until_time_sec, "until_time_sec") if message.until_time_sec else None
    message.limit = message.limit or DELAYED_LIMIT
    return c.GetDelayedStates(since, until, message.offset, message.limit)


def moment_of(number: int, what: str, unit: Literal["seconds", "milliseconds"] = "seconds") -> datetime:
    """Seconds or milliseconds since 1970; BadMessage if no date is that far."""
    try:
        return EPOCH + timedelta(**{unit: number})
    except OverflowError:
        raise BadMessage(f"{what}: {number} is out of range") from None
