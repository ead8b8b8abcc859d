"""The memory driver of the origin as its server answers: States are merged with what was, and listed as the commands name them."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from threading import Lock

from google.protobuf.internal.containers import ScalarMap

from stepflow.wire import flowstate_pb2 as pb
from tests.http.flowstate.scripted import Answer, refused, said

DATA = "flowstate.data."
UNTIL, NEEDS_NO_COMMIT = "flowstate.delay.until", "flowstate.delay.commit"


class MemoryDriver:
    """Answers of a server with its log, data and delays, for `Scripted`."""

    def __init__(self) -> None:
        self.log: list[pb.State] = []
        self.delays: list[pb.DelayedState] = []
        self._data: list[pb.Data] = []
        self._rev = 0  # a refused commit uses revisions up
        self._lock = Lock()

    def __call__(self, method: str, command: pb.Command) -> Answer:
        answers = {
            "GetStateByID": self._state_by_id,
            "GetStateByLabels": self._state_by_labels,
            "GetStates": self._states,
            "GetDelayedStates": self._delayed_states,
            "Delay": self._lone_delay,
            "Commit": self._commit,
            "GetData": self._stored_data,
            "StoreData": self._store_data,
        }
        with self._lock:
            return answers[method](command)

    def _newest(self, state_id: str) -> pb.State:
        return next((state for state in reversed(self.log) if state.id == state_id), pb.State())

    def _state_by_id(self, command: pb.Command) -> Answer:
        query = command.get_state_by_id
        found = [s for s in self.log if s.id == query.id and query.rev in (0, s.rev)]
        return _one(command, found, f"id={query.id}" + (f" rev={query.rev}" if query.rev else ""))

    def _state_by_labels(self, command: pb.Command) -> Answer:
        labels = command.get_state_by_labels.labels
        return _one(command, [s for s in self.log if _has(s, labels)], f"labels=map{dict(labels)}")

    def _states(self, command: pb.Command) -> Answer:
        query = command.get_states
        groups = [group.labels for group in query.labels]
        matching = [s for s in self.log if not groups or any(_has(s, group) for group in groups)]
        since, found = query.since_rev, list[pb.State]()
        if since == -1:
            found, since = matching[-1:], matching[-1].rev if matching else 0
        for state in matching:
            if state.rev <= since or state.committed_at_unix_milli < query.since_time_usec:
                continue
            if query.latest_only:  # only among what was read until the page was full
                found = [other for other in found if other.id != state.id]
            found.append(state)
            if len(found) > query.limit:
                break
        query.result.states.extend(found[: query.limit])
        query.result.more = len(found) > query.limit
        return said(command)

    def _delayed_states(self, command: pb.Command) -> Answer:
        query = command.get_delayed_states
        until = query.until_time_sec or int(time.time())
        found = [
            one for one in self.delays
            if query.since_time_sec <= one.execute_at_sec <= until and one.offset > query.offset
        ]  # fmt: skip
        query.result.delayed_states.extend(found[: query.limit])
        query.result.more = len(found) > query.limit
        return said(command)

    def _lone_delay(self, command: pb.Command) -> Answer:
        self._delay(command, command.delay)
        return said(command)

    def _delay(self, command: pb.Command, part: pb.DelayCommand) -> None:
        delayed = pb.DelayedState(offset=len(self.delays) + 1, execute_at_sec=part.execute_at_sec)
        delayed.state.CopyFrom(command.state_ctxs[part.state_ref.idx].current)
        delayed.state.transition.CopyFrom(pb.Transition(to=part.to, annotations=part.annotations))
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(part.execute_at_sec))
        delayed.state.transition.annotations[UNTIL] = at
        if not part.commit:
            delayed.state.transition.annotations[NEEDS_NO_COMMIT] = "false"
        part.result.CopyFrom(delayed)
        part.result.offset = 0
        self.delays.append(delayed)

    def _store_data(self, command: pb.Command) -> Answer:
        data = command.state_ctxs[command.store_data.state_ref.idx].datas[command.store_data.alias]
        self._data.append(data)
        data.rev = len(self._data)
        self._data[-1] = pb.Data.FromString(data.SerializeToString())
        return said(command)

    def _stored_data(self, command: pb.Command) -> Answer:
        ctx = command.state_ctxs[command.get_data.state_ref.idx]
        rev = int(ctx.current.annotations[DATA + command.get_data.alias])
        if not 0 < rev <= len(self._data):
            return refused(500, "unknown", "data not found")
        ctx.datas[command.get_data.alias].CopyFrom(self._data[rev - 1])
        return said(command)

    def _commit(self, command: pb.Command) -> Answer:
        made: list[pb.State] = []
        listed: list[int] = []
        for part in command.commit.commands:
            for place in _places(part):
                listed += [place] if listed[-1:] != [place] else []
            if part.HasField("delay"):
                self._delay(command, part.delay)
            elif part.HasField("stack"):
                stacked = command.state_ctxs[part.stack.stack_state_ref.idx].SerializeToString()
                carrier = command.state_ctxs[part.stack.carrier_state_ref.idx].current
                carrier.annotations[part.stack.annotation] = base64.b64encode(stacked).decode()
            else:
                move = part.transit if part.HasField("transit") else part.park
                ctx = command.state_ctxs[move.state_ref.idx]
                before = self._newest(ctx.current.id)
                if before.rev != ctx.committed.rev:
                    return refused(409, "aborted", f"rev mismatch: {ctx.current.id}")
                self._rev += 1
                made.append(_merged(before, ctx.current, part.transit.to, move.annotations))
                made[-1].rev, made[-1].committed_at_unix_milli = self._rev, int(time.time() * 1000)
                ctx.current.CopyFrom(made[-1])
                ctx.committed.CopyFrom(made[-1])
        self.log += made
        return said(pb.Command(state_ctxs=[command.state_ctxs[place] for place in listed], commit=command.commit))


def _one(command: pb.Command, found: list[pb.State], what: str) -> Answer:
    if not found:
        return refused(404, "not_found", f"state not found; {what}")
    command.state_ctxs[0].current.CopyFrom(found[-1])
    command.state_ctxs[0].committed.CopyFrom(found[-1])
    return said(command)


def _has(state: pb.State, labels: ScalarMap[str, str]) -> bool:
    return bool(labels) and all(state.labels.get(name) == label for name, label in labels.items())


def _merged(before: pb.State, now: pb.State, to: str, notes: ScalarMap[str, str]) -> pb.State:
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
        kind = "delay" if part.HasField("delay") else "transit" if part.HasField("transit") else "park"
        yield getattr(part, kind).state_ref.idx
