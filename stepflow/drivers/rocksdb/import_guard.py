"""import_guard: imports the optional package rocksdict when a store is opened, or tells how to install it."""

from __future__ import annotations

from types import ModuleType

from stepflow.errors import StoreError


def rocksdict() -> ModuleType:
    """The module `rocksdict`. Raises StoreError that names the pip line when it is not installed."""
    try:
        import rocksdict as library  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise StoreError(
            f"rocksdb:// stores need the package rocksdict ({error}): pip install 'stepflow[rocksdb]'"
        ) from error
    return library
