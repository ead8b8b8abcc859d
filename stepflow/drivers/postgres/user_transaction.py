"""user_transaction: a transaction on a connection that a user's function gets, and that our commit ends.

Two objects share the connection to the server: the function's, a plain one of psycopg, sync or async, which is new for each
transaction, and ours, on which the transaction begins and ends. Only one of them is in use at a time.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from stepflow.drivers.port.commit import CommitResult
from stepflow.drivers.port.step import Member
from stepflow.drivers.port.user_transaction import UserTransaction
from stepflow.drivers.postgres.commit import Commits
from stepflow.drivers.postgres.connection import URGENT_ANSWER_S, PostgresConnection
from stepflow.drivers.postgres.connector import CITUS_SETTINGS, SETTINGS, Connector
from stepflow.drivers.postgres.errors import TRANSIENT, Lost, concerns_member, member_error, state_of, translate
from stepflow.drivers.postgres.lock_and_read import BEGIN
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.transactions import Pool, TransactionRunner, roll_back
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import StepflowError, StoreError

T = TypeVar("T")
BELONGS = (
    "the transaction of this connection belongs to stepflow: return from the function to commit it, raise to roll it back; use"
    " `with connection.transaction():` for a part that may fail"
)
ENDED = "the transaction of this connection has ended: use it only inside of the function that got it"
CHECK = "client_connection_check_interval"
# What the server is to do with a client that is silent or lost, also while a statement runs; all else is as the role of the user has it.
USERS_SETTINGS: Mapping[str, str] = MappingProxyType(
    {name: value for name, value in SETTINGS.items() if name.startswith("tcp_")}
    | {"idle_in_transaction_session_timeout": "10min", CHECK: "1s"}
)
OUR_SETTINGS = "; ".join(
    f"set local {name} = '{value}'" for name, value in SETTINGS.items() if not name.startswith(("tcp_", "default_"))
)
MARK = "savepoint stepflow_function"  # gone if the function ended the transaction, and began another one
# Of the transaction, since those of the session are dropped after it. PostgreSQL 13 lacks the check, and so do servers on Windows.
VALUES = ", ".join(f"('{name}', '{value}')" for name, value in USERS_SETTINGS.items())
KNOWN = f"name <> '{CHECK}' or version() ~ 'linux' and current_setting(name, true) is not null"
SET = f"select set_config(name, value, true) from (values {VALUES}) as s (name, value) where {KNOWN}"  # noqa: S608
FIRST = f"{BEGIN}; {SET}; {MARK}"
LAST = f"release {MARK}; {OUR_SETTINGS}"
LAST_ON_CITUS = "; ".join([LAST, *(f"set local {name} = '{value}'" for name, value in CITUS_SETTINGS.items())])


class SharedConnection(PostgresConnection):
    """Our object on a connection that a function uses, too. It prepares no statements: their names would meet."""

    def execute(self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool = False) -> Any:  # noqa: ARG002
        """As on every connection, without preparing the statement."""
        return super().execute(query, params, prepare=False, binary=binary)

    def __del__(self, *_more: Any) -> None:
        """An abandoned transaction leaves its connection to the collector."""


def users_connector(place: ServerTarget, route: Route) -> Connector:
    """Opens the connections that functions get."""
    return Connector(place, route, {}, SharedConnection)


def _refuse() -> NoReturn:
    raise StepflowError(BELONGS)


class UsersConnection(psycopg.Connection[tuple[Any, ...]]):
    """What a sync function gets: it can neither end the transaction nor use the connection after it."""

    ended = False

    def wait(self, gen: PQGen[T], *args: Any, **named: Any) -> T:
        """As on every connection; refused when the transaction has ended."""
        if self.ended:
            raise StepflowError(ENDED)
        return super().wait(gen, *args, **named)

    def commit(self) -> None:
        """Refused: the transaction is committed when the function returns."""
        _refuse()

    def rollback(self) -> None:
        """Refused: the transaction is rolled back when the function raises."""
        _refuse()

    def close(self) -> None:
        """Refused: the connection is not the function's own."""
        _refuse()

    def __del__(self, *_more: Any) -> None:
        """Another object closes the connection."""


class UsersAsyncConnection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """The same for an async function."""

    ended = False

    async def wait(self, gen: PQGen[T], *args: Any, **named: Any) -> T:
        """As on every connection; refused when the transaction has ended."""
        if self.ended:
            raise StepflowError(ENDED)
        return await super().wait(gen, *args, **named)

    async def commit(self) -> None:
        """Refused: the transaction is committed when the function returns."""
        _refuse()

    async def rollback(self) -> None:
        """Refused: the transaction is rolled back when the function raises."""
        _refuse()

    async def close(self) -> None:
        """Refused: the connection is not the function's own."""
        _refuse()

    def __del__(self, *_more: Any) -> None:
        """Another object closes the connection."""


class PostgresTransaction(UserTransaction):
    """Holds one of the connections for functions from its making to its end."""

    connection: UsersConnection | UsersAsyncConnection

    def __init__(
        self,
        pool: Pool,
        runner: TransactionRunner,
        commits: Commits,
        writing: Callable[[], AbstractContextManager[object]],
        awaited: bool,
    ) -> None:
        self._pool, self._runner, self._commits, self._writing = pool, runner, commits, writing
        self._guard, self._ended = threading.Lock(), False
        self._ours = self._begun()
        self.connection = (UsersAsyncConnection if awaited else UsersConnection)(self._ours.pgconn)
        if self._ours.prepare_threshold is None:  # behind a pooler
            self.connection.prepare_threshold = None

    def _begun(self) -> PostgresConnection:
        """A connection with a transaction; one that broke since its last use is replaced."""
        tries = self._runner.pauses()
        while True:
            connection = self._pool.take()
            try:
                connection.execute(FIRST)
            except BaseException as error:
                roll_back(connection)
                self._pool.give(connection)
                if not isinstance(error, psycopg.Error):
                    raise
                if connection.closed:
                    self._pool.forget()
                    if next(tries, None) is not None:
                        continue
                raise translate(error, self._runner.place.url) from error
            return connection

    def finish(self) -> None:
        self.connection.ended = True
        status = self._ours.info.transaction_status
        if status == TransactionStatus.INTRANS:
            try:
                self._ours.execute(LAST_ON_CITUS if self._runner.place.citus else LAST)
            except psycopg.Error as error:
                problem: StepflowError = self.trouble(error) or StepflowError(
                    f"the function ended its transaction: {BELONGS}"
                )
            else:
                return
        elif status == TransactionStatus.INERROR:
            problem = StepflowError(
                "a statement of the function failed, so nothing can be committed: let the function raise that exception, or"
                " put the statement into `with connection.transaction():`"
            )
        elif self._ours.closed:
            problem = translate(Lost("the connection broke"), self._runner.place.url)
        else:
            problem = StepflowError(f"the function ended its transaction: {BELONGS}")
        self.roll_back()
        raise problem

    def commit(self, member: Member, now: int) -> CommitResult:
        with self._guard:
            if self._ended:
                raise StoreError(f"{self._runner.place.url}: the transaction has ended; nothing was written")
            self._ended = True
        try:
            with self._writing():
                return self._commits.commit_within(self._ours, member, now)
        except (psycopg.Error, UnicodeEncodeError, OverflowError) as error:
            if concerns_member(error):
                return member_error(error)
            raise translate(error, self._runner.place.url) from error
        finally:
            self._end()

    def roll_back(self) -> None:
        if (
            self._ours.info.transaction_status == TransactionStatus.ACTIVE
        ):  # a coroutine goes on although it was cancelled
            self.abandon()
            return
        with self._guard:
            if self._ended:
                return
            self._ended = True
        self._end()

    def abandon(self) -> None:
        with self._guard:
            if self._ended:
                return
            self._ended = True
        self.connection.ended = True  # the function sends nothing more
        try:
            # The server would go on with a statement, and keep the locks, for as long as that takes.
            with suppress(psycopg.Error):
                self._ours.cancel_safe(timeout=URGENT_ANSWER_S)
            # The function may wait for an answer: it finds the connection closed.
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._ours.pgconn.socket)) as link:
                link.shutdown(socket.SHUT_RDWR)
        finally:
            self._pool.drop()

    def trouble(self, error: BaseException) -> StoreError | None:
        if not issubclass(
            type(error), psycopg.Error
        ):  # not isinstance: that would ask the exception for its `__class__`
            return None
        if self._ours.closed:
            return _store_error(translate(Lost(" ".join(str(error).split())), self._runner.place.url))
        if isinstance(error, psycopg.Error) and state_of(error) in TRANSIENT:
            return _store_error(translate(error, self._runner.place.url))
        return None

    def _end(self) -> None:
        """Give the connection back as it was: without a transaction, and without what the function set for its session."""
        self.connection.ended = True
        connection = self._ours
        roll_back(connection)
        if not connection.closed and connection.prepare_threshold is not None:
            with suppress(psycopg.Error):
                connection.execute("discard all")
        if not connection.closed and connection.info.transaction_status != TransactionStatus.IDLE:
            connection.close()
        self._pool.give(connection)


def _store_error(error: StepflowError) -> StoreError | None:
    return error if isinstance(error, StoreError) else None
