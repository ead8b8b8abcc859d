"""Maps what psycopg raises to the library's errors, once: the message names the store and the next move."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import psycopg

from stepflow.errors import (
    CodecError,
    Corrupt,
    Full,
    ReadOnly,
    SchemaMismatch,
    StepflowError,
    StoreError,
    TooLarge,
    Unavailable,
)

POOLER = (
    "a pooler gave the connection to another client meanwhile: write pooler=transaction into the URL, or let the pooler"
    " assign connections per session"
)
TABLE: Mapping[str, tuple[type[StoreError], str]] = MappingProxyType(
    {
        "08": (Unavailable, "check that the server runs and can be reached, then try again"),
        "25006": (ReadOnly, "connect to the primary server with a user that may write"),
        "26000": (StoreError, POOLER),
        "42P05": (StoreError, POOLER),
        "28": (Unavailable, "check user, password and pg_hba.conf"),
        "3D": (Unavailable, "create the database, or name another one in the URL"),
        "3F": (SchemaMismatch, "the schema was dropped: open the engine again to create it"),
        "42501 database": (
            ReadOnly,
            "grant this user CREATE on the database, or let one who has it run `stepflow migrate`",
        ),
        "42501": (ReadOnly, "grant this user the rights on the schema, its tables and sequences"),
        "42P01": (SchemaMismatch, "a table is missing: restore it, or use another schema= in the URL"),
        "42P07": (SchemaMismatch, "the schema holds tables of something else: use another schema= in the URL"),
        "42703": (SchemaMismatch, "a table has other columns: use another schema= in the URL"),
        "53100": (Full, "free some disk space on the server, then try again; nothing was written"),
        "53": (Unavailable, "the server is short of memory or connections: try again, or raise its limits"),
        "54": (TooLarge, "keep large things in a table of your own and store their key"),  # type: ignore[dict-item]
        "55P03": (Unavailable, "another transaction holds a lock for long: end it, then try again"),
        "57": (Unavailable, "the server was stopped or ended the statement: try again"),
        "XX001": (Corrupt, "the data files are damaged: restore a backup"),
        "XX002": (Corrupt, "an index is damaged: run REINDEX on the schema, then try again"),
        "58": (Unavailable, "the server's disk or file system fails: check it, then try again"),
        "40": (Unavailable, "transactions kept getting into each other's way: try again"),
    }
)
"""SQLSTATE (of a database as a whole, where that makes a difference), or its class -> error class and next move."""

TRANSIENT = frozenset({"40001", "40P01"})  # serialization failure, deadlock: the server rolled back, do it again
MEMBER_STATES = frozenset({"22", "54"})  # data that cannot be stored; texts that an index cannot hold
STALE = "stale: "  # in the error by which a statement of ours takes its transaction back


class Lost(Exception):
    """The connection broke; whether the last statements were done is not known."""


def state_of(error: BaseException) -> str:
    """The SQLSTATE of an error, empty if it has none."""
    return getattr(error, "sqlstate", None) or ""


def is_stale(error: psycopg.Error) -> bool:
    """Whether a statement found other rows than it was made for."""
    return STALE in str(error) or state_of(error) == "23505"


def concerns_member(error: BaseException) -> bool:
    """Whether the values of one commit caused this; the others of its batch are not concerned."""
    if isinstance(error, UnicodeEncodeError | OverflowError):
        return True
    return isinstance(error, psycopg.Error) and (
        state_of(error)[:2] in MEMBER_STATES or (isinstance(error, psycopg.DataError) and not state_of(error))
    )


def member_error(error: BaseException) -> StepflowError:
    """The answer to a commit whose own values cannot be stored."""
    if isinstance(error, UnicodeEncodeError):
        return CodecError(
            f"{error.object[error.start : error.end]!r} is half of a surrogate pair and no text: "
            "decode the bytes it came from with the right encoding"
        )
    text = _text(error)
    if state_of(error).startswith("54"):
        return TooLarge(f"{text}; {TABLE['54'][1]}")
    return CodecError(f"{type(error).__name__}: {text}; the commit's values cannot be stored")


def translate(error: BaseException, url: str) -> StepflowError:
    """The library's error for one of psycopg."""
    if isinstance(error, Lost):
        return Unavailable(f"{url}: {error}; {TABLE['08'][1]}")
    state = state_of(error)
    about = f"{state} database" if "for database" in str(error) else state
    found = TABLE.get(about) or TABLE.get(state) or TABLE.get(state[:2])
    if found is None and not state and isinstance(error, psycopg.OperationalError):
        found = TABLE["08"]
    kind, advice = found or (StoreError, f"this is unexpected ({type(error).__name__}, SQLSTATE {state or 'none'})")
    return kind(f"{url}: {_text(error)}; {advice}")


def _text(error: BaseException) -> str:
    """The message in one line."""
    return " ".join(str(error).split()) or type(error).__name__
