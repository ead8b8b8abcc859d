"""Codec: how exchanges, inputs and payloads become JSON text and come back as the same type."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, cast

from stepflow.errors import CodecError, TooLarge
from stepflow.model.converter import converter, has_fields
from stepflow.model.refusal import culprit, expected, explain, has_unknown_fields, name_of
from stepflow.model.scalars import Misfit, shown

T = TypeVar("T")

MAX_BYTES = 16 * 1024 * 1024
FORMAT = 1  # of the stored text; a record carries it, so that a later format can be told apart

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_canonical = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode


class UnknownFields(CodecError):
    """The stored value has fields that the type lacks; they are kept, never dropped."""


class Codec(Generic[T]):
    """Reads and writes values of one type; `Any` (or None as `type_`) means plain JSON values.

    attrs classes, dataclasses, typed dicts, enums, datetimes with a time zone, UUID, Decimal, timedelta, bytes and
    containers of them work. Text is UTF-8 JSON; NaN is refused; no class name is stored. None passes only where the type
    takes it. `hint` goes into the message for a value that cannot be stored, `remedy` into that for a stored text that
    does not fit.
    """

    def __init__(
        self,
        type_: Any = Any,
        *,
        limit: int = MAX_BYTES,
        upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        hint: str = "",
        remedy: str = "",
    ) -> None:
        self.type, self.limit, self.hint, self.remedy = type_, limit, hint, remedy
        self._upgrade = upgrade
        self.plain = type_ is Any or type_ is object
        self._none = takes_none(type_)
        self._class: Any = (typing.get_origin(type_) or type_) if has_fields(type_) else None
        self._dump: Callable[[Any], Any] | None = None
        if not self.plain and type_ is not None and type_ is not NoneType:
            try:
                converter(False).get_structure_hook(type_)
                self._dump = converter(False).get_unstructure_hook(type_)
            except Exception as error:
                raise CodecError(f"{name_of(type_)} cannot be stored as JSON: {explain(error)}") from error

    def encode(self, value: T) -> str:
        """The JSON text of `value`. Raises CodecError or TooLarge; the message says what to change."""
        if value is None:
            if not self._none:
                raise self._missing()
            return "null"
        try:
            text = _encode(value if self._dump is None else self._dump(value))
            if not text.isascii():
                text.encode()  # half of a surrogate pair must fail here, not later in a store together with others' commits
        except Exception as error:
            raise self._refusal(value, error) from error
        if len(text) * 4 > self.limit or not text.isascii():  # a character has at most 4 bytes
            self._check_size(text)
        return text

    def decode(self, text: str) -> T:
        """The value that `encode` was given; raises UnknownFields or CodecError."""
        try:
            raw = None if text == "null" else json.loads(text)
            if self._upgrade is not None and isinstance(raw, dict):
                raw = self._upgrade(raw)
                if not isinstance(raw, dict):
                    raise Misfit(f"upgrade returned {shown(raw)}: it must return the dict, changed or not")
            return self._restored(raw)
        except Exception as error:
            kind = UnknownFields if has_unknown_fields(error) else CodecError
            remedy = self.remedy and f"; {self.remedy}"
            raise kind(f"the stored value does not fit {name_of(self.type)}: {explain(error)}{remedy}") from error

    def digest(self, value: T) -> str:
        """SHA-256 (hex) of the canonical JSON of `value`, default-valued fields omitted.

        Raises CodecError also when the stored value would not come back as the type, e.g. for a text in an `int` field:
        whoever starts a run learns that at once.
        """
        raw: Any = value
        if value is None and not self._none:
            raise self._missing()
        try:
            if self._dump is not None and value is not None:
                raw = converter(True).unstructure(value, self.type)
            stored = _canonical(raw).encode()
        except Exception as error:
            raise self._refusal(value, error) from error
        if self._dump is not None and value is not None:
            try:
                self._restored(self._dump(value))
            except Exception as error:
                raise CodecError(
                    f"{shown(value)} could be stored but not come back as {name_of(self.type)}: {explain(error)}"
                ) from error
        return hashlib.sha256(stored).hexdigest()

    def _restored(self, raw: Any) -> T:
        if self.plain or (raw is None and self._none):
            return cast(T, raw)
        if self._class is not None and not isinstance(raw, dict):
            raise Misfit(f"{expected(self.type)}, found {shown(raw)}")
        return cast(T, converter(False).structure(raw, self.type))

    def _missing(self) -> CodecError:
        name = name_of(self.type)
        return CodecError(f"None is no {name}: give one, or declare the type as {name} | None")

    def _check_size(self, text: str) -> None:
        size = len(text.encode())
        if size > self.limit:
            raise TooLarge(
                f"the value takes {size:,} bytes as JSON, the limit is {self.limit:,}: "
                "keep large things in a file or table of your own and store their key"
            )

    def _refusal(self, value: Any, error: Exception) -> CodecError:
        if isinstance(error, CodecError):
            return error
        try:
            why = culprit(value if self._dump is None or value is None else self._dump(value))
        except Exception:  # noqa: BLE001 - then the first error says it
            why = ""
        why, what = why or explain(error), shown(value)
        if not why.startswith(what):
            why = f"{what} cannot be stored as JSON: {why}"
        return CodecError(f"{why}{self.hint and '; ' + self.hint}")


def takes_none(type_: Any) -> bool:
    """Whether None is a value of the type."""
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Annotated:
        return takes_none(args[0])
    if origin in (typing.Union, UnionType):
        return any(map(takes_none, args))
    return type_ in (Any, object, None, NoneType) or (origin is typing.Literal and None in args)
