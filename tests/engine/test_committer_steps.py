"""The committer and the steps of claimed runs: one of a run in a batch."""

from __future__ import annotations

import asyncio

import pytest

from stepflow import RevMismatch, StepflowError
from stepflow.drivers.port.commit import Fence, Release
from stepflow.drivers.port.step import Step
from stepflow.engine.commit.committer import Committer
from stepflow.engine.commit.pending import PendingCommit
from stepflow.model.state import Transition
from tests.engine.committers import WatchedStore, create, with_committer


async def claimed(store: WatchedStore, committer: Committer, *names: str) -> dict[str, Step]:
    """Runs of these names that are held here, each with its next step."""
    await committer.submit_all([create(name) for name in names])
    claims = await committer.call(store.claim, {"x": ""}, 1, len(names))
    return {
        claim.fence.id: Step(*claim.fence, claim.record.state.rev, Transition("x", {"n": "1"}), {}, {})
        for claim in claims
        if claim.record is not None
    }


@pytest.mark.parametrize("free", [False, True])
def test_steps_of_as_many_runs_are_one_batch_and_a_second_one_of_a_run_is_in_the_next(free: bool):
    async def test(store: WatchedStore, committer: Committer) -> None:
        steps = await claimed(store, committer, "a", "b", "c")
        store.free = free
        store.batches.clear()
        other = Step("b", steps["b"].epoch, steps["b"].rev, Transition("x", {"n": "other"}), {}, {})
        entries = [committer.submit(step) for step in (*steps.values(), other)]
        answers = await asyncio.gather(*(outcome(entry) for entry in entries), return_exceptions=True)
        assert [type(answer) for answer in answers] == [tuple, tuple, tuple, RevMismatch]

    store = with_committer(test)
    assert [len(batch) for batch in store.batches] == [3, 1]


def test_a_step_and_the_release_of_its_run_are_not_in_one_batch():
    async def test(store: WatchedStore, committer: Committer) -> None:
        step = (await claimed(store, committer, "a"))["a"]
        store.free = True
        store.batches.clear()
        made = asyncio.create_task(outcome(committer.submit(step)))
        given = await committer.release(Release(Fence("a", step.epoch), 0))
        assert (len(await made), given) == (2, True)

    assert [len(batch) for batch in with_committer(test).batches] == [1, 1]


def test_a_step_after_the_end_is_refused():
    async def test(store: WatchedStore, committer: Committer) -> None:
        step = (await claimed(store, committer, "a"))["a"]
        step.rev, _at = await committer.submit(step)
        await asyncio.to_thread(committer.close)
        with pytest.raises(StepflowError, match="closed"):
            await committer.submit(step)

    with_committer(test)


async def outcome(entry: object) -> tuple[int, ...]:
    assert isinstance(entry, PendingCommit)
    return await entry  # type: ignore[no-any-return]
