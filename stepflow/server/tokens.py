"""Bearer tokens: who may ask for what. A token is kept as its SHA-256 alone, which is enough for 256 random bits."""

from __future__ import annotations

import hashlib
import secrets
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from attrs import frozen

from stepflow.errors import StepflowError

Scope = Literal["read", "operate", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "stepflow_"


@frozen
class Token:
    """What a token allows: `read`, or `operate` (which starts, cancels, commits), or `admin`; `namespaces` None: all of them."""

    name: str
    sha256: str
    scope: Scope
    namespaces: frozenset[str] | None = None

    def allows(self, scope: Scope, namespace: str) -> bool:
        """Whether its scope reaches that far, in this namespace."""
        reaches = SCOPES.index(self.scope) >= SCOPES.index(scope)
        return reaches and (self.namespaces is None or namespace in self.namespaces)


class TokenTable:
    """The tokens that a server knows."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._by_digest = {token.sha256: token for token in tokens}

    def find(self, secret: str) -> Token | None:
        """The token of this text. Digests are compared, so the time that it takes tells nothing of a secret."""
        return self._by_digest.get(digest(secret))


def digest(secret: str) -> str:
    """The form in which a token is kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def new_secret() -> str:
    """A new token, as the client sends it."""
    return PREFIX + secrets.token_urlsafe(32)


def read_tokens(path: Path) -> TokenTable:
    """The tokens of a TOML file: tables `[NAME]` with `sha256`, `scope` and perhaps `namespaces`."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StepflowError(f"tokens: {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StepflowError(f"tokens: {path} is no TOML: {error}") from error
    if not tables:
        raise StepflowError(f"tokens: {path} has no token: add one with `stepflow token NAME`")
    found: dict[str, Token] = {}
    for name, table in tables.items():
        one = _token(path, name, table)
        if (other := found.setdefault(one.sha256, one)) is not one:
            raise StepflowError(
                f"tokens: {path}: [{other.name}] and [{name}] have the same sha256: make a token for each"
            )
    return TokenTable(list(found.values()))


def _token(path: Path, name: str, table: Any) -> Token:
    where = f"tokens: {path}: [{name}]"
    if not isinstance(table, dict):
        raise StepflowError(f"{where}: make it a table with sha256 and scope")
    if unknown := sorted(table.keys() - {"sha256", "scope", "namespaces"}):
        raise StepflowError(f"{where}: {unknown[0]!r} is unknown: use sha256, scope, namespaces")
    sha256, scope, names = table.get("sha256"), table.get("scope"), table.get("namespaces")
    if not isinstance(sha256, str) or len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise StepflowError(f"{where}: sha256={sha256!r:.80}: give 64 hex digits, as `stepflow token` prints them")
    if scope not in SCOPES:
        raise StepflowError(f"{where}: scope={scope!r:.80}: use {', '.join(SCOPES)}")
    if names is not None and not (isinstance(names, list) and all(isinstance(item, str) for item in names)):
        raise StepflowError(f"{where}: namespaces={names!r:.80}: give a list of texts, or leave it out for all")
    return Token(name, sha256, scope, None if names is None else frozenset(names))
