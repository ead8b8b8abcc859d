"""The committer: what is ready together commits together, one commit per run and batch, each waiter its own answer."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from stepflow import Full, LostClaim, MemoryDriver, NotFound, RevMismatch, StepflowError
from stepflow.drivers.port.commit import Commit, Fence, Owner, Release, Write
from stepflow.engine.clock import SystemClock
from stepflow.engine.commit.committer import Committer, InlineCommitter
from stepflow.engine.commit.group import MAX_BATCH, SHARE
from stepflow.engine.membership.notifier import Notifier
from stepflow.model.state import State, Transition
from tests.engine.committers import (
    WatchedStore,
    all_of,
    create,
    held_up,
    publish,
    released,
    revs,
    submit,
    with_committer,
)


def test_what_piled_up_is_one_batch():
    async def test(store: WatchedStore, committer: Committer) -> None:
        answers = await all_of(committer, [create(f"run-{n}") for n in range(50)], store)
        assert sorted(answers) == [(n,) for n in range(2, 52)]

    store = with_committer(test)
    assert [len(batch) for batch in store.batches] == [1, 50]


def test_tasks_that_are_ready_together_commit_together():
    async def test(store: WatchedStore, committer: Committer) -> None:
        await asyncio.gather(*(submit(committer, create(f"run-{n}")) for n in range(20)))

    assert [len(batch) for batch in with_committer(test).batches] == [20]


def test_a_batch_has_a_run_once_and_keeps_the_order():
    async def test(store: WatchedStore, committer: Committer) -> None:
        commits = [create("a"), publish("a", "1"), create("b"), publish("a", "2"), publish("b", "1"), create("c")]
        answers = await all_of(committer, commits, store)
        assert not any(isinstance(answer, Exception) for answer in answers)

    store = with_committer(test)
    assert [len(batch) for batch in store.batches] == [1, 3, 2, 1]
    events = [e.id for batch in store.batches for c in batch for e in c.publish if e.run_id == "a"]
    assert events == ["1", "2"]


def test_members_fail_alone():
    async def test(store: WatchedStore, committer: Committer) -> None:
        stale = Commit(writes=(Write(State("first", 99, Transition("x"))),))
        lost = Commit(Fence("gone", 5), writes=(Write(State("gone", 0, Transition("x")), "1"),))
        good, no_run, mismatch, no_claim = await all_of(
            committer, [create("good"), publish("nobody", "1"), stale, lost], store
        )
        assert good == (2,)
        assert isinstance(no_run, NotFound)
        assert isinstance(mismatch, RevMismatch)
        assert mismatch.ids == ["first"]
        assert isinstance(no_claim, LostClaim)

    assert len(with_committer(test).batches) == 2


def test_an_error_of_the_store_reaches_every_waiter_and_the_committer_goes_on():
    async def test(store: WatchedStore, committer: Committer) -> None:
        posted_results: list[Any] = []
        done = threading.Event()
        await held_up(store, committer)
        tasks = [asyncio.create_task(submit(committer, create(f"run-{n}"))) for n in range(5)]
        committer.submit_threadsafe(create("posted"), lambda result: (posted_results.append(result), done.set()))  # type: ignore[func-returns-value]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        store.full = True
        store.go_on.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.to_thread(done.wait, 20)
        assert all(isinstance(answer, Full) for answer in [*answers, *posted_results])
        store.full = False
        assert await submit(committer, create("later")) == (1,)

    with_committer(test)


def test_releases_go_with_the_batch_and_tell_what_was_lost():
    async def test(store: WatchedStore, committer: Committer) -> None:
        await committer.submit(create("a"))
        (claim,) = await committer.call(store.claim, {"x": ""}, 1, 9)
        release = asyncio.create_task(released(committer, Release(claim.fence, 0)))
        assert await asyncio.gather(release, submit(committer, create("b"))) == [True, (2,)]
        assert await committer.release(Release(claim.fence, 0)) is False

    with_committer(test)


def test_calls_happen_between_batches_in_order():
    async def test(store: WatchedStore, committer: Committer) -> None:
        first = await held_up(store, committer)
        before = asyncio.create_task(submit(committer, create("before")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen = asyncio.create_task(committer.call(lambda: store.load(["first", "before", "after"])))
        await asyncio.sleep(0)
        after = asyncio.create_task(submit(committer, create("after")))
        store.go_on.set()
        await asyncio.gather(first, before, after)
        assert [record is not None for record in await seen] == [True, True, False]
        with pytest.raises(ZeroDivisionError):
            await committer.call(lambda: 1 / 0)

    with_committer(test)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("count", [3, SHARE, MAX_BATCH + 5])
def test_what_is_submitted_together_commits_together_and_has_its_answers_in_order(count: int, free: bool):
    async def test(store: WatchedStore, committer: Committer) -> None:
        store.free = free
        commits = [create(f"run-{n}") for n in range(count)]
        commits[1] = publish("nobody", "1")
        answers = await committer.submit_all(commits)
        assert isinstance(answers[1], NotFound)
        del answers[1]
        assert [revs(answer) for answer in answers] == [(n,) for n in range(1, count)]
        assert await committer.submit_all([]) == []

    store = with_committer(test)
    assert [len(batch) for batch in store.batches] in ([count], [MAX_BATCH, count - MAX_BATCH])


def test_what_is_submitted_together_after_the_end_is_refused():
    async def test(store: WatchedStore, committer: Committer) -> None:
        committer.close()
        for count in (1, SHARE):
            answers = await committer.submit_all([create("x")] * count)
            assert ["closed meanwhile" in str(answer) for answer in answers] == [True] * count

    with_committer(test)


def test_a_huge_pile_is_cut():
    async def test(store: WatchedStore, committer: Committer) -> None:
        first = await held_up(store, committer)
        tasks = []
        for part in range(3):
            tasks += [asyncio.create_task(submit(committer, create(f"{part}-{n}"))) for n in range(MAX_BATCH)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        store.go_on.set()
        await asyncio.gather(first, *tasks)

    assert [len(batch) for batch in with_committer(test).batches] == [1, MAX_BATCH, MAX_BATCH, MAX_BATCH]


def test_close_finishes_what_was_submitted_and_refuses_the_rest():
    async def test(store: WatchedStore, committer: Committer) -> None:
        first = await held_up(store, committer)
        tasks = [asyncio.create_task(submit(committer, create(f"run-{n}"))) for n in range(5)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(committer.close))
        await asyncio.sleep(0)
        store.go_on.set()
        await closing
        assert len(await asyncio.gather(first, *tasks)) == 6
        for late in (submit(committer, create("late")), committer.call(lambda: 1)):
            with pytest.raises(StepflowError, match="closed meanwhile"):
                await late

    with_committer(test)


def test_a_waiter_that_was_cancelled_harms_nobody():
    async def test(store: WatchedStore, committer: Committer) -> None:
        first = await held_up(store, committer)
        gone, stays = (asyncio.create_task(submit(committer, create(name))) for name in ("gone", "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        store.go_on.set()
        await asyncio.gather(first, stays)
        with pytest.raises(asyncio.CancelledError):
            await gone
        records = await committer.call(store.load, ["gone", "stays"])
        assert records[1] is not None

    with_committer(test)


def test_the_inline_committer_answers_at_once():
    store = MemoryDriver().connect("", Owner("me", "host", 1), 0)

    async def go() -> None:
        committer = InlineCommitter(store, SystemClock(), Notifier(asyncio.get_running_loop()))
        assert await submit(committer, create("a")) == (1,)
        with pytest.raises(NotFound):
            await committer.submit(publish("nobody", "1"))
        (claim,) = await committer.call(store.claim, {"x": ""}, 1, 9)
        assert await committer.release(Release(claim.fence, 0)) is True
        posted_results: list[Any] = []
        committer.submit_threadsafe(create("b"), posted_results.append)
        assert [revs(answer) for answer in posted_results] == [(2,)]
        committer.close()

    asyncio.run(go())
