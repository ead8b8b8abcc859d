"""Reads a PostgreSQL store's URL: what is ours in it, and what goes on to the client library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from attrs import frozen

from stepflow.errors import StoreError

SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
FORM = "postgresql://user:password@host:5432/database?schema=stepflow"
MOST_SHARDS = 4096


@frozen
class ServerTarget:
    """Where a store is: `conninfo` for the client library, the options of ours, and the URL without its password.

    `shards` is None when the URL does not say; `pooled` is true behind a pooler that gives connections per transaction, and
    None when the URL does not say: then the first connection finds out. `citus` is true if the tables are distributed.
    """

    url: str
    conninfo: str
    schema: str = "stepflow"
    shards: int | None = None
    connections: int = 4
    pooled: bool | None = None
    citus: bool = False


def target_of(url: str) -> ServerTarget:
    """Take a URL apart. Raises StoreError where an option of ours is not understood."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise StoreError(f"{_shown(url)!r} is no PostgreSQL URL: write {FORM}")
    if "#" in url:
        raise StoreError(  # without the URL, of which this may be a part of the password
            f"{parts.scheme}://...: the URL has a #, and what follows it would be left out: write %23 for a # in a name or a password"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    names = [name for name, _value in options]
    if twice := [name for name in names if names.count(name) > 1]:
        raise StoreError(f"{_shown(url)}: {twice[0]}= is given {names.count(twice[0])} times: give each parameter once")
    ours = {name: value for name, value in options if name in OPTIONS}
    theirs = urlencode([pair for pair in options if pair[0] not in OPTIONS], quote_via=quote)
    read: dict[str, Any] = {OPTIONS[name][0]: OPTIONS[name][1](value, _shown(url)) for name, value in ours.items()}
    # Not `urlunsplit`: of a URL without a host, as for a Unix socket, it drops the slashes.
    conninfo = f"{parts.scheme}://{parts.netloc}{parts.path}{theirs and '?' + theirs}"
    return ServerTarget(_shown(url), conninfo, **read)


def _shown(url: str) -> str:
    hidden = re.sub(r"(://[^/?#@:]*):[^/?#@]+@", r"\1:***@", url)
    return re.sub(r"([?&](?:ssl)?password)=[^&]*", r"\1=***", hidden)


def _schema(value: str, url: str) -> str:
    if value == "information_schema":
        raise StoreError(
            f"{url}: schema={value!r}: backups leave that one out; give one of your own, e.g. schema=stepflow"
        )
    if not SCHEMA.fullmatch(value) or value.startswith("pg_"):
        raise StoreError(
            f"{url}: schema={value!r}: give 1 to 63 small letters, digits and underscores that do not begin with a"
            " digit or pg_, e.g. schema=stepflow"
        )
    return value


def _number(name: str, least: int, most: int) -> Callable[[str, str], int]:
    def read(value: str, url: str) -> int:
        if not value.isascii() or not value.isdigit() or not least <= int(value) <= most:
            raise StoreError(f"{url}: {name}={value!r}: give a number from {least} to {most}")
        return int(value)

    return read


def _pooler(value: str, url: str) -> bool:
    if value not in ("session", "transaction"):
        raise StoreError(
            f"{url}: pooler={value!r}: give transaction or session, or leave it out to let stepflow find out"
        )
    return value == "transaction"


OPTIONS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "schema": ("schema", _schema),
    "shards": ("shards", _number("shards", 1, MOST_SHARDS)),
    "connections": ("connections", _number("connections", 2, 100)),
    "pooler": ("pooled", _pooler),
}
"""Option in the URL -> field of ServerTarget, and how its value is read."""
