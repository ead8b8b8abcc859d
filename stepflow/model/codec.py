"""Codec: how exchanges, inputs and payloads become JSON text and come back as the same type."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from cattrs import BaseValidationError, ForbiddenExtraKeysError, transform_error
from cattrs.preconf.json import JsonConverter, make_converter

from stepflow.errors import CodecError, TooLarge

T = TypeVar("T")

MAX_BYTES = 16 * 1024 * 1024
FORMAT = 1  # of the stored text; a record carries it, so that a later format can be told apart

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_canonical = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


class UnknownFields(CodecError):
    """The stored value has fields that the type lacks; they are kept, never dropped."""


def _aware(value: datetime) -> str:
    if value.tzinfo is None:
        raise CodecError(
            f"{value!r} has no time zone: give one, e.g. datetime.now(UTC), so that it means the same everywhere"
        )
    return value.isoformat()


def _read_aware(text: str, _type: object) -> datetime:
    value = datetime.fromisoformat(text)
    if value.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset")
    return value


@lru_cache(maxsize=2)
def _converter(omit_defaults: bool) -> JsonConverter:
    converter = make_converter(forbid_extra_keys=True, omit_if_default=omit_defaults)
    for type_ in (Decimal, UUID):
        converter.register_unstructure_hook(type_, str)
        converter.register_structure_hook(type_, lambda text, t: t(text))
    converter.register_unstructure_hook(timedelta, lambda value: value.total_seconds())
    converter.register_structure_hook(timedelta, lambda seconds, _t: timedelta(seconds=seconds))
    converter.register_unstructure_hook(time, lambda value: value.isoformat())
    converter.register_structure_hook(time, lambda text, _t: time.fromisoformat(text))
    converter.register_unstructure_hook(date, lambda value: value.isoformat())
    converter.register_structure_hook(date, lambda text, _t: date.fromisoformat(text))
    converter.register_unstructure_hook(datetime, _aware)
    converter.register_structure_hook(datetime, _read_aware)
    return converter


def _name(type_: Any) -> str:
    return getattr(type_, "__qualname__", None) or str(type_)


def _explain(error: Exception) -> str:
    """The validation errors of cattrs, or any other error, in one line."""
    if isinstance(error, BaseValidationError):
        return "; ".join(transform_error(error, path="$"))
    return f"{type(error).__name__}: {error}"


def _has_unknown_fields(error: BaseException) -> bool:
    if isinstance(error, ForbiddenExtraKeysError):
        return True
    return isinstance(error, BaseExceptionGroup) and any(_has_unknown_fields(e) for e in error.exceptions)


class Codec(Generic[T]):
    """Reads and writes values of one type; `Any` (or None as `type_`) means plain JSON values.

    attrs classes, dataclasses, typed dicts, enums, datetimes with a time zone, UUID, Decimal, timedelta, bytes and
    containers of them work. Text is UTF-8 JSON; NaN is refused; no class name is stored.
    """

    def __init__(
        self,
        type_: Any = Any,
        *,
        limit: int = MAX_BYTES,
        upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        hint: str = "",
    ) -> None:
        self.type, self.limit, self.hint = type_, limit, hint
        self._upgrade = upgrade
        self.plain = type_ is Any
        self._dump: Callable[[Any], Any] | None = None
        if not self.plain and type_ is not None and type_ is not type(None):
            try:
                self._dump = _converter(False).get_unstructure_hook(type_)
            except Exception as error:
                raise CodecError(f"{_name(type_)} cannot be stored as JSON: {_explain(error)}") from error

    def encode(self, value: T) -> str:
        """The JSON text of `value`. Raises CodecError or TooLarge; the message says what to change."""
        if value is None:
            return "null"
        try:
            text = _encode(value if self._dump is None else self._dump(value))
            if not text.isascii():
                text.encode()  # half of a surrogate pair must fail here, not later in a store together with others' commits
        except Exception as error:
            raise self._refusal(value, error) from error
        if len(text) * 4 > self.limit or not text.isascii():  # a character has at most 4 bytes
            self._check_text(text)
        return text

    def decode(self, text: str) -> T:
        """The value that `encode` was given; raises UnknownFields or CodecError."""
        try:
            raw = json.loads(text)
            if self._upgrade is not None and isinstance(raw, dict):
                raw = self._upgrade(raw)
            if self.plain or raw is None:
                return cast(T, raw)
            return cast(T, _converter(False).structure(raw, self.type))
        except Exception as error:
            kind = UnknownFields if _has_unknown_fields(error) else CodecError
            raise kind(f"the stored value does not fit {_name(self.type)}: {_explain(error)}") from error

    def digest(self, value: T) -> str:
        """SHA-256 (hex) of the canonical JSON of `value`, default-valued fields omitted."""
        raw: Any = value
        try:
            if self._dump is not None and value is not None:
                raw = _converter(True).unstructure(value, self.type)
            return hashlib.sha256(_canonical(raw).encode()).hexdigest()
        except Exception as error:
            raise self._refusal(value, error) from error

    def _check_text(self, text: str) -> None:
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            where = text[max(0, error.start - 20) : error.end]
            raise CodecError(
                f"...{where!r}: half of a surrogate pair is no text: decode the bytes it came from with the right encoding"
            ) from None
        if size > self.limit:
            raise TooLarge(
                f"the value takes {size:,} bytes as JSON, the limit is {self.limit:,}: "
                "keep large things in a file or table of your own and store their key"
            )

    def _refusal(self, value: Any, error: Exception) -> CodecError:
        if isinstance(error, CodecError):
            return error
        if isinstance(value, float) and not math.isfinite(value):
            return CodecError(f"{value!r} is not JSON: use None or a string")
        return CodecError(f"{value!r:.200} cannot be stored as JSON: {_explain(error)}{self.hint and '; ' + self.hint}")
