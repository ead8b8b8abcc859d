"""registry: finds the driver for the URL of a store; the code of a driver is imported when it is first used."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from stepflow.drivers.port.store import Driver
from stepflow.errors import StoreError


def _load(name: str) -> Callable[..., Driver]:
    """The driver class `<module>:<class>` below this package."""
    module, _colon, kind = name.partition(":")
    driver: Callable[..., Driver] = getattr(import_module(f"stepflow.drivers.{module}"), kind)
    return driver


def _memory(url: str, rest: str) -> Driver:
    if rest:
        raise StoreError(
            f"{url!r}: memory:// takes no path; every engine that is to share it needs the same MemoryDriver"
        )
    return _load("memory:MemoryDriver")()


def _place(url: str, rest: str, what: str, example: str) -> tuple[str, bool]:
    """The path of a store on disk, and whether it is opened read-only."""
    path, _mark, options = rest.partition("?")
    host, slash, name = path.partition("/")
    scheme = url.partition("://")[0]
    if host or not slash or not name:
        raise StoreError(f"{url!r} names no {what}: write {scheme}:///{example} or {scheme}:////absolute/{example}")
    if options not in ("", "mode=ro"):
        raise StoreError(f"{url!r}: unknown option {options!r}; there is only ?mode=ro, for looking without writing")
    return unquote(name), options != ""


def _sqlite(url: str, rest: str) -> Driver:
    path, read_only = _place(url, rest, "file", "relative.db")
    return _load("sqlite:SqliteDriver")(path, read_only=read_only)


def _rocksdb(url: str, rest: str) -> Driver:
    path, read_only = _place(url, rest, "directory", "relative")
    return _load("rocksdb:RocksdbDriver")(path, read_only=read_only)


def _postgres(url: str, rest: str) -> Driver:  # noqa: ARG001
    try:
        return _load("postgres:PostgresDriver")(url)
    except ImportError as error:
        raise StoreError(f"PostgreSQL stores need psycopg: pip install 'stepflow[postgres]' ({error})") from error


def _http(url: str, rest: str) -> Driver:  # noqa: ARG001
    try:
        return _load("http:HttpDriver")(url)
    except ImportError as error:
        raise StoreError(f"stores behind a server need urllib3: pip install 'stepflow[http]' ({error})") from error


DRIVERS: Mapping[str, Callable[[str, str], Driver]] = MappingProxyType(
    {
        "memory": _memory,
        "sqlite": _sqlite,
        "rocksdb": _rocksdb,
        "postgresql": _postgres,
        "postgres": _postgres,
        "http": _http,
        "https": _http,
    }
)
"""Scheme -> maker of the driver from the URL and what follows its `://`."""

PLUGINS = "stepflow.drivers"
"""Group of the entry points by which other packages add drivers: the name is a scheme, the object takes a URL."""

FORMS = "memory://, sqlite:///relative.db, sqlite:////absolute/path.db, rocksdb:///relative, postgresql://user@host/database, http://host:port"


def driver_for(store: str | Driver) -> Driver:
    """The driver of a URL (`memory://`, `sqlite:///relative.db`, a scheme of another package); a Driver is returned unchanged."""
    if isinstance(store, Driver):
        return store
    if not isinstance(store, str):
        raise StoreError(f"store={store!r:.100} is neither a URL nor a Driver; stores are: {FORMS}")
    scheme, found, rest = store.partition("://")
    if not found:
        raise StoreError(f"{store!r} is no store URL: write its scheme and path, e.g. sqlite:///orders.db")
    if scheme in DRIVERS:
        return DRIVERS[scheme](store, rest)
    # Imported here because it is slow, and only drivers of other packages need it.
    for entry in import_module("importlib.metadata").entry_points(group=PLUGINS, name=scheme):
        return _foreign(entry, store)
    shown = re.sub(r"(://[^/?#@:]*):[^/?#]*@", r"\1:***@", store)  # a password must not appear in a log
    raise StoreError(f"{shown!r}: there is no driver for {scheme}://; stores are: {FORMS}")


def _foreign(entry: Any, url: str) -> Driver:
    """The driver that another package's entry point returns for the URL."""
    try:
        make = entry.load()
    except (ImportError, AttributeError) as error:
        raise StoreError(
            f"{entry.name}:// - its driver {entry.value!r} cannot be loaded: {error}; install it anew"
        ) from error
    driver = make(url)
    if not isinstance(driver, Driver):
        raise StoreError(
            f"{entry.name}:// - {entry.value!r} gave {driver!r:.100}, which is no stepflow.drivers.port.store.Driver"
        )
    return driver
