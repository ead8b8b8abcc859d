"""The memory driver of the origin as its server answers: States are merged with what was, and listed as the commands name them."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from stepflow.wire import flowstate_pb2 as pb
from tests.http.flowstate.scripted import Answer, refused, said


class MemoryDriver:
    """Answers of a server with its log, for `Scripted`."""

    def __init__(self) -> None:
        self.log: list[pb.State] = []
        self._rev = 0  # a refused commit uses revisions up

    def __call__(self, method: str, command: pb.Command) -> Answer:
        if method == "Commit":
            return self._commit(command)
        if method == "GetStateByID":
            found = self._newest(command.get_state_by_id.id)
            if not found.rev:
                return refused(404, "not_found", f"state not found; id={command.get_state_by_id.id}")
            command.state_ctxs[0].current.CopyFrom(found)
            command.state_ctxs[0].committed.CopyFrom(found)
        elif method == "GetStates":
            query = command.get_states
            states = self.log[-1:] if query.since_rev == -1 else [s for s in self.log if s.rev > query.since_rev]
            query.result.states.extend(states[: query.limit])
            query.result.more = len(states) > query.limit
        return said(command)

    def _newest(self, state_id: str) -> pb.State:
        return next((state for state in reversed(self.log) if state.id == state_id), pb.State())

    def _commit(self, command: pb.Command) -> Answer:
        made: list[pb.State] = []
        listed: list[pb.StateCtx] = []
        for part in command.commit.commands:
            for place in _places(part):
                listed += [command.state_ctxs[place]] if listed[-1:] != [command.state_ctxs[place]] else []
            if part.HasField("stack"):
                stacked = command.state_ctxs[part.stack.stack_state_ref.idx].SerializeToString()
                carrier = command.state_ctxs[part.stack.carrier_state_ref.idx].current
                carrier.annotations[part.stack.annotation] = base64.b64encode(stacked).decode()
                continue
            move = part.transit if part.HasField("transit") else part.park
            ctx = command.state_ctxs[move.state_ref.idx]
            before = self._newest(ctx.current.id)
            if before.rev != ctx.committed.rev:
                return refused(409, "aborted", f"rev mismatch: {ctx.current.id}")
            self._rev += 1
            made.append(_merged(before, ctx.current, part.transit.to, move.annotations))
            made[-1].rev, made[-1].committed_at_unix_milli = self._rev, self._rev
            ctx.current.CopyFrom(made[-1])
            ctx.committed.CopyFrom(made[-1])
        self.log += made
        return said(pb.Command(state_ctxs=listed, commit=command.commit))


def _merged(before: pb.State, now: pb.State, to: str, notes) -> pb.State:
    """Nothing that was there goes away, not even annotations of a transition that is over."""
    made = pb.State(id=now.id, labels={**before.labels, **now.labels})
    made.annotations.update({**before.annotations, **now.annotations})
    made.transition.to = to
    made.transition.annotations.update({**before.transition.annotations, **notes})
    return made


def _places(part: pb.Command) -> Iterator[int]:
    """The working copies that a command names, in its order."""
    if part.HasField("stack"):
        yield from (part.stack.carrier_state_ref.idx, part.stack.stack_state_ref.idx)
    else:
        yield (part.transit if part.HasField("transit") else part.park).state_ref.idx
