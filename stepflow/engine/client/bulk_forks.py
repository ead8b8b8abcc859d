"""The verbs that fork and rewind many runs: each run to the moment before a step, by several reads and a commit of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define

from stepflow.drivers.port.commit import Commit, Record
from stepflow.engine.checks import checked_new_id
from stepflow.engine.client.bulk import Verb
from stepflow.engine.client.fork_plan import Known
from stepflow.engine.client.forks import Forks
from stepflow.errors import StepflowError
from stepflow.model.flow import Flow
from stepflow.model.lifecycle import Status


@define
class RewindVerb(Verb):
    """Let it go back to before a step."""

    forks: Forks
    known: Known
    step: str
    statuses = tuple(one for one in Status if one is not Status.RUNNING)

    def plan(self, record: Record, now: int) -> Commit | None:  # noqa: ARG002
        """Where it goes back to has to be read."""
        if record.row is not None and record.row.owner:
            raise StepflowError("it is held by a worker: pause it, and rewind it when it is paused")
        return None

    async def alone(self, record: Record) -> None:
        """As a single run is rewound."""
        await self.forks.rewind(record, None, self.step, self.known)

    async def refusals(self, records: Sequence[Record]) -> Mapping[str, str]:
        """Whether they were ever about to make the step, and no outcome is unknown."""
        return await self.forks.refusals(records, self.step, self.known, rewinds=True)


@define
class ForkVerb(Verb):
    """Start a new run where it was before a step."""

    forks: Forks
    known: Known
    step: str
    suffix: str
    statuses = tuple(Status)

    def plan(self, record: Record, now: int) -> Commit | None:  # noqa: ARG002
        """What the new run begins with has to be read; the new runs of a call that is repeated are no runs to fork."""
        if record.state.id.endswith(self.suffix):
            raise StepflowError(f"its id ends with the suffix {self.suffix!r}: it is such a fork itself")
        return None

    async def alone(self, record: Record) -> None:
        """As a single run is forked."""
        new_id = checked_new_id(f"{record.state.id}{self.suffix}")
        if not await self.forks.fork(record, None, self.step, new_id, ..., self.known):
            raise _taken(new_id)

    async def refusals(self, records: Sequence[Record]) -> Mapping[str, str]:
        """Whether they were ever about to make the step, and their forks are not there. An id that is kept after its run was pruned is not found."""
        new_ids, refused = dict[str, str](), dict[str, str]()
        for record in records:
            try:
                new_ids[record.state.id] = checked_new_id(f"{record.state.id}{self.suffix}")
            except StepflowError as refusal:
                refused[record.state.id] = str(refusal)
        left = [record for record in records if record.state.id in new_ids]
        refused |= await self.forks.refusals(left, self.step, self.known)
        taken = await self.forks.existing([new_ids[one.state.id] for one in left if one.state.id not in refused])
        return refused | {run_id: str(_taken(new_id)) for run_id, new_id in new_ids.items() if new_id in taken}


def rewinding(forks: Forks, flows: Mapping[str, Flow[Any, Any]], step: Any) -> RewindVerb:
    """The verb for a step; `flows` are those that are known here."""
    return RewindVerb(forks, flows.get, _text("rewind", "step", step, "order/pay"))


def forking(forks: Forks, flows: Mapping[str, Flow[Any, Any]], step: Any, suffix: Any) -> ForkVerb:
    """The verb for a step, with what is put behind the ids of the runs."""
    text = _text("fork", "suffix", suffix, "-again")
    return ForkVerb(forks, flows.get, _text("fork", "step", step, "order/pay"), text)


def _taken(new_id: str) -> StepflowError:
    return StepflowError(f"run {new_id!r} exists, or its id is kept")


def _text(verb: str, name: str, value: Any, example: str) -> str:
    if not isinstance(value, str) or not value:
        raise StepflowError(f"{verb}(..., {name}={value!r:.80}): give a text, e.g. {example!r}")
    return value
