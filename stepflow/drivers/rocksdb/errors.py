"""errors: maps the errors of RocksDB to the library's errors; the message names the directory and the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from stepflow.errors import CodecError, Corrupt, Full, ReadOnly, StepflowError, StoreError, Unavailable

TABLE: Sequence[tuple[str, type[StoreError], str]] = (
    ("No space left", Full, "free some disk space, then try again; nothing was written"),
    ("File too large", Full, "raise the limit on file sizes (ulimit -f), then try again; nothing was written"),
    ("Disk quota exceeded", Full, "free some of the quota, then try again; nothing was written"),
    ("Read-only file system", ReadOnly, "mount the file system for writing, or use another directory"),
    ("in read only mode", ReadOnly, "leave out ?mode=ro to write"),
    ("Permission denied", Unavailable, "check the permissions of the directory and its files"),
    ("Operation not permitted", Unavailable, "check the permissions of the directory and its files"),
    ("lock hold by current process", Unavailable, "it is open in this process already: close it there first"),
    ("While lock file", Unavailable, "another process has it open: stop that one, or use sqlite:// to share a store"),
    ("Corruption", Corrupt, "restore a backup, or save what is readable with rocksdict.Rdict.repair(path)"),
    ("checksum mismatch", Corrupt, "restore a backup, or save what is readable with rocksdict.Rdict.repair(path)"),
    ("NotFound", Corrupt, "files are missing from it: restore a backup"),
    ("No such file or directory", Unavailable, "check that the path exists and was not moved or deleted"),
    ("Too many open files", Unavailable, "raise the limit on open files (ulimit -n), then try again"),
    ("IO error", Unavailable, "the disk or file system fails: check it, then open the store again"),
    ("Invalid argument", Corrupt, "it is no stepflow store, or its files do not fit each other: restore a backup"),
)
"""Part of the message -> error class and remedy; the first match is used."""

MEMBER_ERRORS = (UnicodeEncodeError, OverflowError, TypeError, ValueError, AttributeError)
"""Errors that the values of one commit may cause; the other commits of its batch are not affected."""


def translate(error: BaseException, path: object) -> StoreError:
    """The library's error for an error of RocksDB."""
    text = str(error)
    for part, kind, advice in TABLE:
        if part in text:
            return kind(f"{path}: {text}; {advice}")
    return StoreError(f"{path}: {type(error).__name__}: {text}; this is unexpected: open the store again and check it")


@contextmanager
def translated(path: object) -> Iterator[None]:
    """Raise the library's errors instead of those of rocksdict, which raises plain Exceptions."""
    try:
        yield
    except StepflowError:
        raise
    except Exception as error:
        raise translate(error, path) from error


def member_error(error: Exception) -> StepflowError:
    """The error of a commit whose values cannot be stored."""
    return CodecError(f"{type(error).__name__}: {error}; the commit's values cannot be stored, nothing of it was")
