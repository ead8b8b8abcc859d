"""The fixture files: how each kind of store is packed, and unpacked to be opened."""

from __future__ import annotations

import json
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from attrs import frozen

from stepflow import Engine
from stepflow.drivers.postgres import PostgresDriver
from stepflow.drivers.rocksdb import RocksdbDriver
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.testing import VirtualClock
from tests.compatibility.finish import NAMESPACES
from tests.postgres.server import Server

SOURCE = Path(__file__).parent / "written_by_3834636"
KINDS = ("sqlite", "rocksdb", "postgres")
FILES = {"sqlite": "sqlite.zip", "rocksdb": "rocksdb.zip", "postgres": "postgres.sql"}
RECORD = "recorded.json"


def url_in(kind: str, folder: Path) -> str:
    """The URL of a SQLite or RocksDB store in this folder."""
    return f"sqlite:///{folder}/runs.db" if kind == "sqlite" else f"rocksdb:///{folder}/runs"


def pack(folder: Path, archive: Path) -> None:
    """Zip all files in the folder, whichever are there, so that the same files give the same archive."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as target:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                info = zipfile.ZipInfo(str(path.relative_to(folder)))
                info.compress_type = zipfile.ZIP_DEFLATED
                target.writestr(info, path.read_bytes())


def unpack(kind: str, source: Path, folder: Path) -> str:
    """Extract a SQLite or RocksDB store into a folder; its URL."""
    with zipfile.ZipFile(source / FILES[kind]) as archive:
        archive.extractall(folder)
    return url_in(kind, folder)


def load(source: Path, server: Server, database: str) -> str:
    """Load the dump into a new database of this server; its URL."""
    script = (source / FILES["postgres"]).read_text("utf-8")
    server.execute(f"create database {database}")
    url = server.uri.replace("/postgres?", f"/{database}?")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(script)  # type: ignore[arg-type]  # no literal, but ours
    return url


def recorded(source: Path) -> Any:
    """What the code that wrote the stores said of them; the same of all kinds, but for the ids of the owners."""
    return json.loads((source / RECORD).read_text("utf-8"))


@frozen
class Stored:
    """A store that an older version wrote, and what that version said of it."""

    kind: str
    url: str
    record: Any

    def clock(self) -> VirtualClock:
        """A clock that shows when the store was left."""
        return VirtualClock(datetime.fromisoformat(self.record["left_at"]))

    def engine(self, namespace: str = "", clock: VirtualClock | None = None) -> Engine:
        return Engine(self.url, namespace=namespace, clock=clock or self.clock())

    def opened(self, namespace: str) -> Any:
        """What the old version said when it opened the store, with the ids that the owners have in this one.

        It did not count the attempts that crashes ended, and did not keep the step of an error.
        """
        found = self.record["namespaces"][namespace]["opened"]
        owners = self.record["owners"][self.kind]
        runs = {
            id_: run
            | {"owner": owners[run["owner"]], "attempt": run["attempt"] + run["crashes"]}
            | {"error": run["error"] and run["error"] | {"step": ""}}
            for id_, run in found["runs"].items()
        }
        return found | {"runs": runs}

    def problems(self) -> list[str]:
        """What is wrong with the store."""
        if self.kind == "postgres":
            driver: Any = PostgresDriver(self.url)
        else:
            path = self.url.partition("///")[2]
            driver = SqliteDriver(path) if self.kind == "sqlite" else RocksdbDriver(path)
        return [problem for name in NAMESPACES for problem in driver.maintenance(name).check()]
