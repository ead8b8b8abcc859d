"""errors: maps the errors of sqlite3 to the library's errors; the message names the file and the remedy."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from stepflow.errors import CodecError, Corrupt, Full, ReadOnly, StepflowError, StoreError, TooLarge, Unavailable

TABLE: Mapping[int, tuple[type[StoreError], str]] = MappingProxyType(
    {
        sqlite3.SQLITE_FULL: (
            Full,
            "free some disk space (or raise max_page_count), then try again; nothing was written",
        ),
        sqlite3.SQLITE_READONLY: (ReadOnly, "make the file and its directory writable, or use another file"),
        sqlite3.SQLITE_CORRUPT: (Corrupt, "restore a backup, or save what is readable with `sqlite3 FILE .recover`"),
        sqlite3.SQLITE_NOTADB: (Corrupt, "it is no SQLite database: check the path, or restore a backup"),
        sqlite3.SQLITE_BUSY: (Unavailable, "another program holds a write transaction: end it, then try again"),
        sqlite3.SQLITE_LOCKED: (Unavailable, "another connection holds a lock: end its transaction, then try again"),
        sqlite3.SQLITE_CANTOPEN: (Unavailable, "check that its directory exists and may be written"),
        sqlite3.SQLITE_PERM: (Unavailable, "check the permissions of the file and its directory"),
        sqlite3.SQLITE_IOERR: (Unavailable, "the disk or file system fails: check it, then open the store again"),
    }
)
"""Primary result code -> error class and remedy."""

FILES: Mapping[int, tuple[type[StoreError], str]] = MappingProxyType(
    {
        **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), TABLE[sqlite3.SQLITE_READONLY]),
        **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), TABLE[sqlite3.SQLITE_CANTOPEN]),
        **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), TABLE[sqlite3.SQLITE_FULL]),
    }
)
"""The same for the lock files, by errno."""

MEMBER_ERRORS = (UnicodeEncodeError, OverflowError, sqlite3.DataError, sqlite3.IntegrityError)
"""Errors that the values of one commit may cause; the other commits of its batch are not affected."""


def translate(error: sqlite3.Error, path: object) -> StoreError:
    """The library's error for an error of sqlite3."""
    code = getattr(error, "sqlite_errorcode", None)
    kind, advice = TABLE.get(
        (code or 0) & 0xFF, (StoreError, "this is unexpected: check the file with `PRAGMA integrity_check`")
    )
    return kind(f"{path}: {error}; {advice}")


@contextmanager
def translated(path: object) -> Iterator[None]:
    """Raise the library's errors instead of those of sqlite3."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error
    except UnicodeEncodeError as error:
        raise member_error(error) from error
    except OSError as error:
        kind, advice = FILES.get(error.errno or 0, TABLE[sqlite3.SQLITE_IOERR])
        raise kind(f"{error.filename or path}: {error.strerror}; {advice}") from error


def member_error(error: Exception) -> StepflowError:
    """The error of a commit whose values cannot be stored."""
    if isinstance(error, UnicodeEncodeError):
        return CodecError(
            f"{error.object[error.start : error.end]!r} is half of a surrogate pair and no text: "
            "decode the bytes it came from with the right encoding"
        )
    if isinstance(error, sqlite3.DataError):
        return TooLarge(f"{error}: SQLite stores at most 1,000,000,000 bytes in one value")
    if isinstance(error, OverflowError) and "INT_MAX" in str(error):
        return TooLarge(f"{error}: SQLite stores at most 1,000,000,000 bytes in one value")
    return CodecError(f"{type(error).__name__}: {error}; the commit's values cannot be stored")
