"""Opens connections to the server, and waits a few seconds for a server that starts again."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from stepflow.drivers.port.process_fork import on_fork
from stepflow.drivers.postgres.connection import LONG_ANSWER_S, URGENT_ANSWER_S, Network, PostgresConnection, Silent
from stepflow.drivers.postgres.errors import translate
from stepflow.drivers.postgres.route import Route
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import StoreError, Unavailable

Connection = PostgresConnection

TIMEOUTS = 2  # tries to connect that a silent network may take, each as long as connect_timeout
PAUSES_S = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)  # five seconds in all
POOLER_PAUSES_S = (
    0.5,
) * 30  # then, behind a pooler: PgBouncer refuses clients for 15 s after a failed login on the server
LAST_WAIT_S = 5.0  # the pauses of a session that ends
OLDEST = 130000
DEFAULTS = {
    "application_name": "stepflow",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
# A lock that is held for ever becomes an error, a process that stopped inside a transaction loses its locks, and the server
# notices within 25 s that a client was lost with its network: its own default is two hours. Our statements are made for
# look-ups by index, in the order of an index, whatever the planner's statistics are.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "20s",
        "default_transaction_isolation": "read committed",
        "plan_cache_mode": "force_generic_plan",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_seqscan": "off",
        "enable_sort": "off",
        "jit": "off",
    }
)
"""The settings of each session. A statement makes them, as poolers refuse or drop those of a connection's start."""
# Citus plans a statement for the values that it is sent with: they tell the shard.
CITUS_SETTINGS: Mapping[str, str] = MappingProxyType({"plan_cache_mode": "force_custom_plan"})


def settings_of_role(settings: Mapping[str, str]) -> dict[str, str]:
    """Those that the role may have in the place of the session: what a socket does behind a pooler is its own matter."""
    return {name: value for name, value in settings.items() if not name.startswith("tcp_")}


def lines_of_role(role: str, settings: Mapping[str, str]) -> list[str]:
    """The statements that give them to the role."""
    return [f"ALTER ROLE {role} SET {name} = '{value}';" for name, value in settings.items()]


SET = "select set_config(name, value, false) from unnest($1::text[], $2::text[]) as s (name, value)"
GET = "select name, current_setting(name) from unnest($1::text[]) as s (name)"
log = logging.getLogger("stepflow")


class Connector:
    """Opens connections to one server and schema; `closing` ends its waiting. `route` is shared by those of one driver."""

    def __init__(
        self,
        place: ServerTarget,
        route: Route,
        settings: Mapping[str, str] = SETTINGS,
        kind: type[Connection] = Connection,
    ) -> None:
        self.place, self._kind = place, kind
        self._settings = {**settings, **CITUS_SETTINGS} if place.citus and "plan_cache_mode" in settings else settings
        self.network = Network()
        self.closing = self.network.closing
        self._route = route
        self._options = self._merged(place)
        self._opened: weakref.WeakSet[Connection] = weakref.WeakSet()
        on_fork(self)

    def _merged(self, place: ServerTarget) -> dict[str, Any]:
        try:
            given = conninfo_to_dict(place.conninfo)
        except psycopg.Error as error:
            raise StoreError(f"{place.url}: {' '.join(str(error).split())}") from error
        return {**DEFAULTS, **given, "client_encoding": "utf8"}

    def connect_once(self) -> Connection:
        """One try; raises psycopg.Error, and StoreError where the URL and the pooler disagree."""
        connection = self._plain()
        connection.answer_s = URGENT_ANSWER_S
        try:
            if not self._route.known:
                self._explore(connection)
            if self._settings and (self.direct or not self.pooled):
                connection.execute(SET, (list(self._settings), list(self._settings.values())), prepare=False)
        except BaseException:
            connection.close()
            raise
        del connection.answer_s
        if self.pooled:
            connection.prepare_threshold = None
        return connection

    @property
    def pooled(self) -> bool:
        """Whether a pooler gives connections per transaction: the URL says it, or the first connection found it out."""
        return self.place.pooled is True or self._route.per_transaction

    @property
    def direct(self) -> bool:
        """Whether connections end at the server itself, as far as is known."""
        return self._route.direct

    def _plain(self) -> Connection:
        """A connection with the settings of its role."""
        connection = self._kind.connect(autocommit=True, cursor_factory=psycopg.RawCursor, **self._options)
        connection.belongs_to(self.network)
        self._opened.add(connection)
        return connection

    def _explore(self, connection: Connection) -> None:
        """Find out, once, what is between this session and the server."""
        self._route.explore(connection, self._plain, asked=self.place.pooled is not True)
        if self._route.per_transaction and self.place.pooled is False:
            self._route.known = False
            raise StoreError(
                f"{self.place.url}: pooler=session was given, but the pooler assigns connections per transaction: "
                "write pooler=transaction, or leave it out"
            )
        if self._route.per_transaction:
            log.warning(
                "%s: a pooler assigns connections per transaction, so there are no notifications, and a dead worker is "
                "noticed after ten seconds; write pooler=transaction into the URL if that is meant",
                self.place.url,
            )
        if self.pooled and not self.direct:
            self._tell_missing(connection)

    def _tell_missing(self, connection: Connection) -> None:
        """Log the settings that cannot be made behind this pooler: they would reach the sessions of others."""
        wanted = settings_of_role(self._settings)
        found = dict(connection.execute(GET, (list(wanted),), prepare=False).fetchall())
        missing = {name: value for name, value in wanted.items() if found[name] != value}
        if missing:
            role = connection.info.user
            lines = " ".join(lines_of_role(role, missing))
            log.warning("%s: behind this pooler stepflow cannot make its settings; run once: %s", self.place.url, lines)

    def after_fork(self) -> None:
        """Keep no socket open in a forked child: else the server would not notice the parent's death."""
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for connection in self._opened:
            with suppress(psycopg.Error, OSError):
                os.dup2(nowhere, connection.fileno(), inheritable=False)
        os.close(nowhere)

    def first(self) -> Connection:
        """The first connection, for long work. Raises what is wrong with the server, the database or the user."""
        try:
            connection = self.connect_once()
        except psycopg.Error as error:
            raise translate(error, self.place.url) from error
        version, encoding = connection.info.server_version, connection.info.parameter_status("server_encoding")
        if version < OLDEST or encoding != "UTF8":
            connection.close()
            raise StoreError(
                f"{self.place.url}: the server has version {version // 10000} and the database "
                f"the encoding {encoding}: stepflow needs PostgreSQL 13 or newer and a database with encoding UTF8"
            )
        connection.answer_s = LONG_ANSWER_S
        return connection

    def connect(self) -> Connection:
        """A connection, waited for as long as a restart of the server takes. Raises Unavailable, at once if the network is lost."""
        network, timeouts, waited_s = self.network, 0, 0.0
        for pause in (*PAUSES_S, 0.0) if self.direct else (*PAUSES_S, *POOLER_PAUSES_S, 0.0):
            if network.lost:
                break
            try:
                return self.connect_once()
            except psycopg.Error as error:
                timeouts += isinstance(error, psycopg.errors.ConnectionTimeout | Silent)
                waited_s += pause
                network.lost = network.ending and (timeouts > 0 or pause == 0.0 or waited_s >= LAST_WAIT_S)
                if network.lost or timeouts >= TIMEOUTS or pause == 0.0 or self.closing.wait(pause):
                    raise translate(error, self.place.url) from error
        raise Unavailable(
            f"{self.place.url}: the server could not be reached since this session was asked to end; what it holds goes back when"
            " others notice its end"
        )
