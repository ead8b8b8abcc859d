"""The SQLite driver: one file, many processes, no server."""

from stepflow.drivers.sqlite.driver import SqliteDriver

__all__ = ["SqliteDriver"]
