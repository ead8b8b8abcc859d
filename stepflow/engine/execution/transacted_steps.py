"""TransactedSteps: the part of a step attempt that commits with more than a position: with journal rows, and in a transaction."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import Any

from attrs import define, field

from stepflow.drivers.port.commit import Release
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.step import Member, Step
from stepflow.engine.execution.at_most_once import AtMostOnceAttempt
from stepflow.engine.execution.executor import Executor
from stepflow.engine.execution.once_calls import OnceCalls, why_unknown
from stepflow.engine.execution.user_transactions import Refused, UserTransactions
from stepflow.errors import CancelRequested, StepflowError
from stepflow.model.flow import Call, Move, Passes, Task
from stepflow.model.state import POSITION, Transition


@define(eq=False)
class TransactedSteps(AtMostOnceAttempt):
    """An attempt whose steps may write in the transaction that commits their position, and call what is made once."""

    executor: Executor = field(kw_only=True)
    transactions: UserTransactions = field(kw_only=True)
    _unfinished: int = field(init=False)  # attempts of the present step that died or were interrupted
    # The last commit; one object for all, as the store has answered one before the next is made. Its part ends the claim.
    _step: Step = field(init=False)
    _untaken: StepflowError | None = field(init=False, default=None)  # why the store did not take a transaction
    _once: OnceCalls | None = field(init=False, default=None)  # once a step has asked for it

    @abstractmethod
    def _planned(self, move: Move, note: str = "") -> Member | Release:
        """The commit that makes a move durable."""

    @abstractmethod
    def _on_done(self, done: Any) -> None:
        """That commit is durable."""

    @abstractmethod
    def _restore(self) -> Any:
        """The exchange of the last commit, in place of what a failed step left."""

    @abstractmethod
    def _end(self, status: str, error: str = "") -> Member:
        """The commit that ends the run."""

    def interrupt(self) -> None:
        """End the attempt in its present call, and the transaction that this has."""
        AtMostOnceAttempt.interrupt(self)
        self.transactions.interrupted(self)

    def step_calls(self) -> OnceCalls:
        """What makes the calls of `once`, made for the first of them."""
        if self._once is None:
            self._once = OnceCalls(self, self.executor.committer, self._journal, self.executor.loop)
        return self._once

    def _why_unknown(self, row: JournalRow) -> str:
        """Why the outcome of the call of `once` with this row is unknown."""
        return why_unknown(self._once, row)

    def _counted(self, transition: Transition, note: str) -> Transition:
        """The transition with the attempts that died, which count on while a retry group makes the step again."""
        if not note and '"attempt:' not in transition.annotations.get(POSITION, ""):
            self._unfinished = 0
            return transition
        return transition.with_notes(unfinished=str(self._unfinished))

    def _in_pass(self, transition: Transition, passes: Passes) -> Transition:
        """The transition with the numbers of the passes of the loops around it, which are part of the key of its step."""
        self.current.passes, noted = passes.noted(transition, self.transition)
        return noted

    def _forgotten(self, move: Move, note: str) -> tuple[str, ...]:
        """The journal rows that go with a commit: those of the step that it completes, all when the run completes."""
        if note or move.stays:
            return ()
        name = f"{self.current.step}:" if move.tasks else ""
        gone = [key for key in self._journal if key.startswith(name)]
        for key in gone:
            del self._journal[key]
        return (name,) if gone else ()

    async def _transacted(self, task: Task) -> Move:
        """Call a step with a connection, and commit the move together with what it wrote; `_ends` tells if the store did not take that."""
        kept, unfinished, passes, tries = dict(self._journal), self._unfinished, self.current.passes, 0

        def undo() -> None:
            """Nothing is committed: the journal rows are still there, and the run has not ended."""
            self._journal.clear()
            self._journal.update(kept)
            self._step.part, self.ended, self._unfinished = None, "", unfinished

        def call(connection: Any) -> Any:
            nonlocal tries
            tries, self.current.passes = tries + 1, passes
            return task.call(self.exchange if tries == 1 else self._restore(), connection)

        def member_of(value: Any) -> tuple[Member, Move]:
            undo()
            move = task.after_return(value, self.exchange)
            self.flow.codec.encode(self.exchange)  # what cannot be stored is the step's failure
            plan = self._planned(move)
            assert not isinstance(plan, Release)
            return plan, move

        try:
            move, done = await self.transactions.acall(self, Call(call, (), task.is_async, task.limit_s), member_of)
        except Refused as refusal:
            undo()
            self._untaken = refusal.error
            return Move(Transition(""), ())
        except BaseException:
            undo()
            raise
        self._on_done(done)
        return move  # type: ignore[no-any-return]

    def _ends(self) -> Generator[Member, Any, bool]:
        """Whether the claim ends after a transaction; raises what kept the store from taking it, unless that is a cancel of the run."""
        error = self._untaken
        if error is None:
            return self._step.part is not None
        if not isinstance(error, CancelRequested):
            raise error
        yield self._end("cancelled")
        return True
