"""Opens connections to the server, and waits a little for one that is starting again."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from threading import Event
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

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
# A lock that somebody holds for ever becomes an error; a process that stopped in mid-transaction loses its locks. Our
# statements are made for look-ups by index, in the order of an index, whatever the statistics say today.
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
    """Opens connections to one place; `closing` ends its waiting."""

    def __init__(self, place: ServerTarget) -> None:
        self.place = place
        self.closing = Event()
        self._options = self._merged(place)
        self._opened: weakref.WeakSet[Connection] = weakref.WeakSet()
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _let_go(this()))

    def _merged(self, place: ServerTarget) -> dict[str, Any]:
        try:
            given = conninfo_to_dict(place.conninfo)
        except psycopg.Error as error:
            raise StoreError(f"{place.url}: {' '.join(str(error).split())}") from error
        options: dict[str, Any] = {**DEFAULTS, **given, "client_encoding": "utf8"}
        if not place.pooled:
            options["options"] = " ".join(filter(None, (options.get("options"), SETTINGS)))
        return options

    def dedup(self) -> Connection:
        """One try; raises psycopg.Error."""
        connection: Connection = psycopg.connect(autocommit=True, cursor_factory=psycopg.RawCursor, **self._options)
        if self.place.pooled:
            connection.prepare_threshold = None
        self._opened.add(connection)
        return connection

    def let_go(self) -> None:
        """In a forked child: keep no socket open, or the server would not notice that the parent died."""
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for connection in self._opened:
            with suppress(psycopg.Error, OSError):
                os.dup2(nowhere, connection.fileno(), inheritable=False)
        os.close(nowhere)

    def first(self) -> Connection:
        """The first connection: what is wrong with the place is told at once."""
        try:
            connection = self.dedup()
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

    def patiently(self) -> Connection:
        """A connection, waited for as long as a restart of the server takes. Raises Unavailable."""
        for pause in PAUSES_S:
            try:
                return self.dedup()
            except psycopg.Error:
                if self.closing.wait(pause):
                    break
        return self.first()


def _let_go(dialer: Connector | None) -> None:
    if dialer is not None:
        dialer.let_go()
