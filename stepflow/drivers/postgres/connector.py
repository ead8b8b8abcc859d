"""Opens connections to the server, and waits a few seconds for a server that starts again."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from threading import Event
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from stepflow.drivers.port.fork import on_fork
from stepflow.drivers.postgres.errors import translate
from stepflow.drivers.postgres.url import ServerTarget
from stepflow.errors import StoreError

Connection = psycopg.Connection[tuple[Any, ...]]

PAUSES_S = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)  # five seconds in all
OLDEST = 130000
DEFAULTS = {
    "application_name": "stepflow",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
# A lock that is held for ever becomes an error, and a process that stopped inside a transaction loses its locks. Our
# statements are made for look-ups by index, in the order of an index, whatever the planner's statistics are.
SETTINGS = " ".join(
    f"-c {name}={value}"
    for name, value in {
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
        "default_transaction_isolation": "read\\ committed",
        "plan_cache_mode": "force_generic_plan",
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_bitmapscan": "off",
        "enable_seqscan": "off",
        "enable_sort": "off",
        "jit": "off",
    }.items()
)


class Connector:
    """Opens connections to one server and schema; `closing` ends its waiting."""

    def __init__(self, place: ServerTarget) -> None:
        self.place = place
        self.closing = Event()
        self._options = self._merged(place)
        self._opened: weakref.WeakSet[Connection] = weakref.WeakSet()
        on_fork(self)

    def _merged(self, place: ServerTarget) -> dict[str, Any]:
        try:
            given = conninfo_to_dict(place.conninfo)
        except psycopg.Error as error:
            raise StoreError(f"{place.url}: {' '.join(str(error).split())}") from error
        options: dict[str, Any] = {**DEFAULTS, **given, "client_encoding": "utf8"}
        if not place.pooled:
            options["options"] = " ".join(filter(None, (options.get("options"), SETTINGS)))
        return options

    def connect_once(self) -> Connection:
        """One try; raises psycopg.Error."""
        connection: Connection = psycopg.connect(autocommit=True, cursor_factory=psycopg.RawCursor, **self._options)
        if self.place.pooled:
            connection.prepare_threshold = None
        self._opened.add(connection)
        return connection

    def after_fork(self) -> None:
        """Keep no socket open in a forked child: else the server would not notice the parent's death."""
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for connection in self._opened:
            with suppress(psycopg.Error, OSError):
                os.dup2(nowhere, connection.fileno(), inheritable=False)
        os.close(nowhere)

    def first(self) -> Connection:
        """The first connection. Raises what is wrong with the server, the database or the user."""
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
        return connection

    def connect(self) -> Connection:
        """A connection, waited for as long as a restart of the server takes. Raises Unavailable."""
        for pause in PAUSES_S:
            try:
                return self.connect_once()
            except psycopg.Error:
                if self.closing.wait(pause):
                    break
        return self.first()
