"""PayloadDriver: wraps a driver, so that what it stores of values has gone through payload stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stepflow.drivers.payload.pipeline import Pipeline, checked_stages
from stepflow.drivers.port.commit import Claim, Commit, CommitResult, Created, HeartbeatReply, Owner, Record, Release
from stepflow.drivers.port.notes import ChangeNote, EndNote, NotePage
from stepflow.drivers.port.pruning import PrunedId
from stepflow.drivers.port.queries import DueSummary, RunList
from stepflow.drivers.port.schedules import ScheduleRow
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.store import Driver, Maintenance, Query, Store
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.errors import CodecError, StepflowError, StoreError, Unavailable


class PayloadDriver(Driver):
    """The driver `inside`, with these stages."""

    def __init__(self, inside: Driver, stages: Any) -> None:
        self.url, self._inside, self._pipeline = inside.url, inside, Pipeline(checked_stages(stages))
        self.transactions, self.transaction_limit_s = inside.transactions, inside.transaction_limit_s

    def connect(self, namespace: str, owner: Owner, now: int) -> Store:
        """Open a session."""
        return PayloadStore(self._inside.connect(namespace, owner, now), self._pipeline)

    def maintenance(self, namespace: str) -> Maintenance:
        """The maintenance port of the inner driver, which reads no values."""
        return self._inside.maintenance(namespace)

    def note_change(self, namespace: str, note: ChangeNote) -> EndNote | None:
        """The inner driver is told."""
        return self._inside.note_change(namespace, note)

    def notes(self, namespace: str, facts: Mapping[str, str], limit: int, cursor: str | None) -> NotePage | None:
        """What the inner driver is answered."""
        return self._inside.notes(namespace, facts, limit, cursor)

    def migrations(self) -> Sequence[tuple[int, str]]:
        """Those of the inner driver."""
        return self._inside.migrations()

    def distribution(self) -> str:
        """That of the inner driver."""
        return self._inside.distribution()

    def distribute(self) -> None:
        """That of the inner driver."""
        self._inside.distribute()


class PayloadStore(Store):
    """A session: seals what goes in, opens what comes out, and forwards everything else."""

    takes_deltas = False  # the inner store could not apply a sealed one

    def __init__(self, inside: Store, pipeline: Pipeline) -> None:
        self._inside, self._pipeline = inside, pipeline
        self.guards = inside.guards

    def close(self, keep: bool = False) -> None:
        """End the session."""
        self._inside.close(keep)

    def same_input(self, stored: str, digest: str) -> bool:
        """Compares under the key that sealed the stored one."""
        return self._pipeline.same_input(stored, digest)

    def commit(self, batch: Sequence[Member], now: int) -> list[CommitResult]:
        """Seal and commit; a member whose stage fails is refused alone."""
        sealed, refused = self._sealed(batch)
        return _merged(batch, self._inside.commit(sealed, now) if sealed else [], refused)

    def commit_if_free(self, batch: Sequence[Member], now: int) -> list[CommitResult] | None:
        """The same, if the store is free."""
        sealed, refused = self._sealed(batch)
        answers = self._inside.commit_if_free(sealed, now) if sealed else []
        return None if answers is None else _merged(batch, answers, refused)

    def claim(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim]:
        """Claim, with opened records."""
        return self._claims(self._inside.claim(flows, now, limit, suspects=suspects, skip=skip))

    def claim_if_free(
        self, flows: Mapping[str, str], now: int, limit: int, *, suspects: bool = False, skip: Collection[str] = ()
    ) -> list[Claim] | None:
        """The same, if the store is free."""
        found = self._inside.claim_if_free(flows, now, limit, suspects=suspects, skip=skip)
        return None if found is None else self._claims(found)

    def release(self, batch: Sequence[Release], now: int) -> list[bool]:
        """Release; why a run is blocked is sealed."""
        sealed = [one._replace(blocked=self._pipeline.seal_blocked(one.blocked)) for one in batch]
        return self._inside.release(sealed, now)

    def beat(self, now: int, dead: Collection[str] = (), mono: float | None = None) -> HeartbeatReply:
        """Forwarded."""
        return self._inside.beat(now, dead, mono)

    def time(self) -> int | None:
        """Forwarded."""
        return self._inside.time()

    def load(self, ids: Sequence[str]) -> list[Record | None]:
        """Opened records."""
        return [self._opened(record) for record in self._inside.load(ids)]

    def read(self, query: Query) -> Any:
        """Opened answers."""
        answers: Any = self._inside.read(query)
        opened = map(self._pipeline.opened, answers)
        return RunList(opened, answers.end) if isinstance(answers, RunList) else list(opened)

    def next_due(self, flows: Mapping[str, str], now: int) -> DueSummary:
        """Forwarded."""
        return self._inside.next_due(flows, now)

    def post(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        """Seal and post."""
        return self._inside.post(tx, *map(self._pipeline.posted, commits))

    async def apost(self, tx: Any, *commits: Commit) -> list[Created | PrunedId | None]:
        """Seal and post."""
        return await self._inside.apost(tx, *map(self._pipeline.posted, commits))

    def load_in(self, tx: Any, run_id: str) -> Record | None:
        """An opened record."""
        return self._opened(self._inside.load_in(tx, run_id))

    async def aload_in(self, tx: Any, run_id: str) -> Record | None:
        """An opened record."""
        return self._opened(await self._inside.aload_in(tx, run_id))

    def load_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        """An opened row."""
        return self._opened_schedule(self._inside.load_schedule_in(tx, schedule_id))

    async def aload_schedule_in(self, tx: Any, schedule_id: str) -> ScheduleRow | None:
        """An opened row."""
        return self._opened_schedule(await self._inside.aload_schedule_in(tx, schedule_id))

    def begin(self, *, awaited: bool = False) -> UserTransaction:
        """A transaction of the inner store; what is committed with it is sealed."""
        return PayloadTransaction(self._inside.begin(awaited=awaited), self._pipeline)

    def hurry(self, *, ending: bool) -> None:
        """Forwarded."""
        self._inside.hurry(ending=ending)

    def wait_for_change(self, token: int, timeout_s: float) -> int:
        """Forwarded."""
        return self._inside.wait_for_change(token, timeout_s)

    def _claims(self, found: Sequence[Claim]) -> list[Claim]:
        return [claim._replace(record=self._opened(claim.record)) for claim in found]

    def _opened_schedule(self, row: ScheduleRow | None) -> ScheduleRow | None:
        return None if row is None else self._pipeline.schedule(row)

    def _opened(self, record: Record | None) -> Record | None:
        return None if record is None else self._pipeline.record(record)

    def _sealed(self, batch: Sequence[Member]) -> tuple[list[Member], dict[int, StepflowError]]:
        sealed, refused = list[Member](), dict[int, StepflowError]()
        for number, member in enumerate(batch):
            try:
                sealed.append(self._pipeline.sealed(member))
            except (Unavailable, CodecError) as error:
                refused[number] = error
        return sealed, refused


class PayloadTransaction(UserTransaction):
    """A transaction for a user's function."""

    def __init__(self, inside: UserTransaction, pipeline: Pipeline) -> None:
        self.connection, self._inside, self._pipeline = inside.connection, inside, pipeline

    def finish(self) -> None:
        """Forwarded."""
        self._inside.finish()

    def commit(self, member: Member, now: int) -> CommitResult:
        """Seal and commit; if a stage fails, roll back."""
        try:
            sealed = self._pipeline.sealed(member)
        except (Unavailable, CodecError):
            self._inside.roll_back()
            raise
        return self._inside.commit(sealed, now)

    def roll_back(self) -> None:
        """Forwarded."""
        self._inside.roll_back()

    def abandon(self) -> None:
        """Forwarded."""
        self._inside.abandon()

    def trouble(self, error: BaseException) -> StoreError | None:
        """Forwarded."""
        return self._inside.trouble(error)


def _merged(
    batch: Sequence[Member], answers: Sequence[CommitResult], refused: Mapping[int, StepflowError]
) -> list[CommitResult]:
    """The answers in the order of the batch."""
    given = iter(answers)
    return [refused[number] if number in refused else next(given) for number in range(len(batch))]
