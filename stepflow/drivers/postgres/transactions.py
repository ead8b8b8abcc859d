"""A session's connections: a small pool, and new tries of transactions that the server rolled back."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from threading import Condition
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from stepflow.drivers.postgres.connection import ANSWER_S, Silent
from stepflow.drivers.postgres.connector import Connection, Connector
from stepflow.drivers.postgres.errors import TRANSIENT, Lost, concerns_member, state_of, translate
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import OutcomeUnknown, StepflowError, StoreError, Unavailable

T = TypeVar("T")
Statement = tuple[str, tuple[object, ...]]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.2  # between two tries of a transaction, before the jitter
RETRIES_S = 10.0  # all pauses of one transaction together
POOLER_RETRIES_S = (
    20.0  # the same behind a pooler: PgBouncer refuses clients for 15 s after a failed login on the server
)
SILENCES = 2  # of the server within one transaction: then it is given up
EITHER = re.compile(r"/\*plain\*/(.*?)/\*citus(.*?)\*/", re.DOTALL)  # see `lookup.either`
POOL_WAIT_S = 60.0  # for a connection, while other threads use all of them


def pauses(chance: Callable[[], float], most_s: float = RETRIES_S) -> Iterator[float]:
    """The pauses between the tries of one transaction, `most_s` in all: each twice as long as the one before, +- 50 %.

    `chance` gives numbers from 0 to 1. Without jitter two transactions that deadlocked would meet again.
    """
    pause_s, total_s = FIRST_PAUSE_S, 0.0
    while total_s < most_s:
        jittered = pause_s * (0.5 + chance())
        total_s += jittered
        yield jittered
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


@lru_cache(maxsize=512)
def for_schema(text: str, schema: str, *, citus: bool = False) -> str:
    """A statement written for the schema `stepflow`, for another one; where it has two forms, that for Citus or the plain one."""
    return EITHER.sub(r"\2" if citus else r"\1", text).replace("stepflow.", f'"{schema}".')


class Pool:
    """At most `most` connections, made when needed; the one used last is taken first. A thread may take one at a time.

    Not `psycopg_pool`: measured, one use of a connection costs 7.0 us there and 3.1 us here, and its pool has four threads.
    """

    def __init__(self, connector: Connector, most: int) -> None:
        self._connector, self._most, self.network = connector, most, connector.network
        self._free: list[Connection] = []
        self._made = 0
        self._returned = Condition()
        self._closed = False

    @contextmanager
    def use(self, answer_s: float = ANSWER_S) -> Iterator[Connection]:
        """A connection in autocommit mode, with this limit for each answer.

        Whatever fails inside is rolled back; raises Lost when it broke.
        """
        connection = self.take()
        connection.answer_s = answer_s
        try:
            yield connection
        except BaseException as error:
            roll_back(connection)
            if connection.closed and isinstance(error, psycopg.Error):
                raise Lost(" ".join(str(error).split())) from error
            raise
        finally:
            self.give(connection)

    def take(self) -> Connection:
        """A connection in autocommit mode, for `give` or `drop`; raises Unavailable."""
        with self._returned:
            found = self._returned.wait_for(lambda: self._closed or self._free or self._made < self._most, POOL_WAIT_S)
            if self._closed:
                raise StoreError(f"{self._connector.place.url}: this session is closed; open the engine again")
            if not found:
                raise Unavailable(
                    f"{self._connector.place.url}: all {self._most} connections were busy for {POOL_WAIT_S:g} s; "
                    "give the engine more (connections= in the URL)"
                )
            if self._free:
                return self._free.pop()
            self._made += 1
        try:
            return self._connector.connect()
        except BaseException:
            self.drop()
            raise

    def give(self, connection: Connection) -> None:
        """Take a connection back that no transaction is open on."""
        with self._returned:
            if not connection.closed and not self._closed:
                self._free.append(connection)
                self._returned.notify()
                return
        connection.close()
        self.drop()

    def drop(self) -> None:
        """A connection that was taken is not given back: another one may be made."""
        with self._returned:
            self._made -= 1
            self._returned.notify()

    def adopt(self, connection: Connection) -> None:
        """Take in a connection that was opened elsewhere."""
        with self._returned:
            self._made += 1
            self._free.append(connection)

    def hurry(self) -> None:
        """Wait at most URGENT_ANSWER_S for any answer on the connections that there are."""
        self.network.breaks += 1

    def forget(self) -> None:
        """Close the free connections: the server was probably restarted, and they are broken too."""
        self.hurry()
        with self._returned:
            stale, self._free = self._free, []
            self._made -= len(stale)
            self._returned.notify_all()
        for connection in stale:
            connection.close()

    def close(self) -> None:
        """Close the free connections at once and the others when their use ends."""
        with self._returned:
            self._closed = True
        self.forget()


def roll_back(connection: Connection) -> None:
    """End what is open on a connection; close it where that fails."""
    with suppress(psycopg.Error):
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            connection.execute("rollback")
    if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
        connection.close()


class TransactionRunner:
    """Runs transactions on a pool, again where that is safe. `chance` gives numbers from 0 to 1, `wait` makes a pause.

    `wait(seconds)` returns True if there shall be no further try; by default when the session is closed.
    """

    def __init__(
        self,
        connector: Connector,
        most: int,
        *,
        chance: Callable[[], float] = random.random,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._connector = connector
        self.pool = Pool(connector, most)
        self.closing = connector.closing
        self._chance, self._wait = chance, wait or connector.closing.wait

    @property
    def place(self) -> ServerTarget:
        """Where the store is."""
        return self._connector.place

    def sql(self, text: str) -> str:
        """A statement for this store's schema."""
        return for_schema(text, self.place.schema, citus=self.place.citus)

    def pauses(self) -> Iterator[float]:
        """Makes the pauses of one transaction, one per step; it ends when there shall be no further try."""
        network = self.pool.network
        for pause_s in pauses(self._chance, RETRIES_S if self._connector.direct else POOLER_RETRIES_S):
            if network.lost or self._wait(pause_s):
                return
            yield pause_s

    def run(
        self,
        work: Callable[[Connection], T],
        after_break: Callable[[Connection], T | None] | None = None,
        *,
        answer_s: float = ANSWER_S,
    ) -> T:
        """The result of `work(connection)`, which is done again after a deadlock or a broken connection.

        After a break `after_break` is asked first, on a new connection: its result, if not None, is the answer. A server that does
        not answer for `answer_s` seconds gets one more try. Raises the library's errors, and psycopg's or Python's own where
        the values of a commit are to blame.
        """
        broken, silences = False, 0
        tries = self.pauses()
        while True:
            try:
                with self.pool.use(answer_s) as connection:
                    if broken and after_break is not None and (found := after_break(connection)) is not None:
                        return found
                    return work(connection)
            except Lost as error:
                trouble: Exception = error
                broken = True
                silences += isinstance(error.__cause__, Silent)
                self.pool.forget()
            except psycopg.Error as error:
                if concerns_member(error):
                    raise
                if state_of(error) not in TRANSIENT:
                    raise translate(error, self.place.url) from error
                trouble = error
            except Unavailable as error:
                if broken and after_break is not None:
                    raise _unknown(error) from error
                raise
            if silences >= SILENCES or next(tries, None) is None:
                final = translate(trouble, self.place.url)
                raise (_unknown(final) if broken and after_break is not None else final) from trouble


def _unknown(error: StepflowError) -> OutcomeUnknown:
    return OutcomeUnknown(f"{error}; the connection broke inside COMMIT, read the runs again")


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Send what is executed inside in one round trip; the first error is raised at the end."""
    first: psycopg.Error | None = None
    try:
        with connection.pipeline():
            try:
                yield
            except psycopg.Error as error:
                first = error
    except psycopg.Error as error:
        raise first or error from None
    if first is not None:
        raise first


def fetch_all(connection: Connection, *statements: Statement) -> list[list[tuple[Any, ...]]]:
    """The rows of several statements in one round trip; those that write must be between BEGIN and COMMIT."""
    with pipelined(connection):
        cursors = [connection.execute(text, values, prepare=True) for text, values in statements]
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]
