"""Codec: encodes exchanges, inputs and payloads as JSON text, and decodes them as the same type."""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Callable
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, cast

from attrs import frozen

from stepflow.errors import CodecError, TooLarge
from stepflow.model.codec_errors import expected_fields, has_unknown_fields, one_line
from stepflow.model.converter import converter
from stepflow.model.fields import difference, has_fields
from stepflow.model.forms import Spelling, Write, checked_plain
from stepflow.model.scalars import TypeMismatch, short_repr
from stepflow.model.type_tree import TypeTree, type_name
from stepflow.model.unencodable import find_unencodable

T = TypeVar("T")

MAX_BYTES = 16 * 1024 * 1024
SEALED = "\x0e"  # begins a stored text that payload stages made; no JSON text does
UNOPENED = (
    "the stored value went through payload stages of which this engine lacks one, or its key: give it the same payload=[...]"
    " as the engine that wrote it; for Fernet, older keys behind the newest one"
)
UNREADABLE = "(cannot be read: this engine lacks a payload stage, or its key)"  # in place of a part of a text
FORMAT = 1  # version of the stored text; every record carries it, so that a later format can be recognised

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_read_json = json.JSONDecoder().raw_decode
_canonical = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True).encode
_NONE_DIGEST = hashlib.sha256(b"null").hexdigest()


def _one_encoder() -> Callable[[Any], str]:
    """`_encoder.encode`, which makes an encoder in C for each value, with one that serves all of them.

    It keeps no list of the containers around a value, so one that contains itself ends in a RecursionError.
    """
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    text_of = json.encoder.encode_basestring
    parts = make(None, _encoder.default, text_of, None, ":", ",", False, False, False)
    return lambda value: "".join(parts(value, 0))


_encode = _one_encoder()


def tags_of(sealed: str) -> str:
    """The tags of the payload stages that made a stored text, with commas between them."""
    return sealed[2:].partition(":")[0]


class UnknownFields(CodecError):
    """The stored value has fields that the type lacks; the codec refuses it instead of dropping them."""


class Unopened(CodecError):
    """The stored value went through payload stages that this engine lacks, or whose key it lacks."""


class UnresolvedName(CodecError):
    """An annotation names a class that does not exist, or that its module has not defined yet."""


class PlainClass(CodecError):
    """The type is a class of the program without fields, which only `apply` can use."""


@frozen
class Compiled:
    """What is found out about a type once: how it is written and read, and whether code of its classes runs then.

    `again` is that of its form.
    """

    write: Write
    read: Callable[[Any, Any], Any]
    runs_code: bool
    again: Callable[[Any], Any] | None


@lru_cache(maxsize=1024)
def compiled(type_: Any) -> Compiled:
    """Raises CodecError with the path of every type inside `type_` that cannot be stored."""
    tree = TypeTree(Spelling())
    form = tree.form(type_, type_name(type_))
    if tree.problems:
        kind = UnresolvedName if len(tree.problems) == tree.unresolved else CodecError
        kind = PlainClass if tree.is_plain_class else kind
        raise kind(f"{type_name(type_)} cannot be stored as JSON: {'; '.join(tree.problems)}")
    try:
        read = converter().get_structure_hook(type_)
    except Exception as error:
        raise CodecError(f"{type_name(type_)} cannot be restored from JSON: {one_line(error)}") from error
    return Compiled(form.write, read, tree.runs_code, form.again)


@lru_cache(maxsize=1024)
def _spelled(type_: Any, spelling: Spelling) -> Write:
    return TypeTree(spelling).form(type_, "").write


class Codec(Generic[T]):
    """Reads and writes values of one type; `Any` (or None as `type_`) means plain JSON values.

    attrs classes, dataclasses, typed dicts, enums, datetimes with a time zone, UUID, Decimal, timedelta, bytes and
    containers of them work. Text is UTF-8 JSON; NaN is refused; no class name is stored. None is accepted only where the
    type allows it. `limit` is in bytes. `upgrade` converts a stored dict of an older version. `hint` is added to the message
    for a value that cannot be encoded, `remedy` to the message for a stored text that does not fit. With `exact=False` plain
    values need not come back as they are: of a payload, the receiver says the type.
    """

    def __init__(
        self,
        type_: Any = Any,
        *,
        limit: int = MAX_BYTES,
        upgrade: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        hint: str = "",
        remedy: str = "",
        exact: bool = True,
    ) -> None:
        self.type, self.limit, self.hint, self.remedy = type_, limit, hint, remedy
        self._upgrade = upgrade
        self.plain = type_ is Any or type_ is object
        self._none = takes_none(type_)
        self._class: Any = (typing.get_origin(type_) or type_) if has_fields(type_) else None
        self._dump: Write | None = None
        self._read: Callable[[Any, Any], Any] | None = None
        self._again: Callable[[Any], Any] | None = None
        self._runs_code = False
        self._check = checked_plain if self.plain and exact else None
        if type_ is NoneType:
            self._dump = _refuse_value
        elif not self.plain and type_ is not None:
            found = _hashable(compiled, type_)
            self._dump, self._read, self._runs_code, self._again = found.write, found.read, found.runs_code, found.again

    def encode_input(self, value: T) -> str:
        """The JSON text of the input of a run. Plain JSON is taken as it is given, e.g. a tuple as a list: all steps see that."""
        return self.encode(value, exact=False)

    def encode(self, value: T, exact: bool = True) -> str:
        """The JSON text of `value`. Raises CodecError or TooLarge; the message says what to change."""
        if value is None:
            if not self._none:
                raise self._none_error()
            return "null"
        try:
            raw = value if self._dump is None else self._dump(value)
            text = _encode(raw)
            if exact and self._check is not None:
                self._check(value)
            if self._runs_code:
                self._check_restored(value, raw)
            if not text.isascii():
                text.encode()  # half of a surrogate pair must fail here, not later in a batch with the commits of other runs
        except Exception as error:
            raise self._encode_error(value, error) from error
        if len(text) * 4 > self.limit or not text.isascii():  # a character has at most 4 bytes
            self._check_size(text)
        return text

    def decode(self, text: str) -> T:
        """The value that `encode` was given; raises UnknownFields or CodecError."""
        try:
            raw = None if text == "null" else _loads(text)
            if self._upgrade is not None and isinstance(raw, dict):
                raw = self._upgrade(raw)
                if not isinstance(raw, dict):
                    raise TypeMismatch(f"upgrade returned {short_repr(raw)}: it must return the dict, changed or not")
            return self._structure(raw)
        except Exception as error:
            if text[:1] == SEALED:
                raise Unopened(UNOPENED) from error
            kind = UnknownFields if has_unknown_fields(error) else CodecError
            remedy = self.remedy and f"; {self.remedy}"
            raise kind(f"the stored value does not fit {type_name(self.type)}: {one_line(error)}{remedy}") from error

    def restored(self, value: T, text: str) -> T:
        """What `decode` makes of the text that `encode` made of `value`."""
        if self._again is None or value is None:
            return self.decode(text)
        try:
            return cast(T, self._again(value))
        except Exception:  # noqa: BLE001 - of the constructor; this tells what a replay would find wrong
            return self.decode(text)

    def digest(self, value: T) -> str:
        """SHA-256 (hex) of the canonical JSON of `value`: equal values have equal digests, default-valued fields are omitted.

        Raises CodecError for a value that cannot be written; `encode` also refuses one that its class would not make again.
        """
        return self._digest(value, Spelling(omit=True, canonical=True))

    def is_former_digest(self, value: T, digest: str) -> bool:
        """Whether versions before this one made this digest of `value`: they did not make equal spellings equal."""
        return digest == self._digest(value, Spelling(omit=True, former=True))

    def _digest(self, value: T, spelling: Spelling) -> str:
        if value is None:
            if not self._none:
                raise self._none_error()
            return _NONE_DIGEST  # of "null", however it is spelled
        raw: Any = value
        try:
            if self.plain and spelling.canonical:
                raw = json.loads(_encode(value))  # as `encode_input` takes it
            if self._dump is not None or (self._check is not None and spelling.canonical):
                raw = _hashable(_spelled, self.type, spelling)(raw)
            return hashlib.sha256(_canonical(raw).encode()).hexdigest()
        except Exception as error:
            raise self._encode_error(value, error) from error

    def _check_restored(self, value: T, raw: Any) -> None:
        """Raises unless the value comes back as it is: code of its classes runs when it is made again."""
        try:
            changed = difference(value, self._structure(raw))
        except Exception as error:
            raise CodecError(
                f"{short_repr(value)} can be stored but not restored as {type_name(self.type)}: {one_line(error)}"
            ) from error
        if changed:
            raise CodecError(
                f"{changed}: code of the class (e.g. __post_init__, a converter, a computed field) runs each time the value "
                "is loaded, and must leave a value that it made before as it is"
            )

    def _structure(self, raw: Any) -> T:
        if self.plain or (raw is None and self._none):
            return cast(T, raw)
        if self._class is not None and not isinstance(raw, dict):
            raise TypeMismatch(f"{expected_fields(self.type)}, found {short_repr(raw)}")
        if self._read is None:
            return cast(T, converter().structure(raw, self.type))
        return cast(T, self._read(raw, self.type))

    def _none_error(self) -> CodecError:
        name = type_name(self.type)
        return CodecError(f"None is not of type {name}: give one, or declare the type as {name} | None")

    def _check_size(self, text: str) -> None:
        size = len(text.encode())
        if size > self.limit:
            raise TooLarge(
                f"the value takes {size:,} bytes as JSON, the limit is {self.limit:,}: "
                "keep large things in a file or table of your own and store their key"
            )

    def _encode_error(self, value: Any, error: Exception) -> CodecError:
        if isinstance(error, CodecError):
            return error
        try:
            why = find_unencodable(value if self._dump is None or value is None else self._dump(value))
        except Exception:  # noqa: BLE001 - the original error is reported then
            why = ""
        why, what = why or one_line(error), short_repr(value)
        if isinstance(error, TypeMismatch) and "expected " in why:
            why = f"{what} does not fit {type_name(self.type)}: {why}"
        elif not why.startswith(what):
            why = f"{what} cannot be stored as JSON: {why}"
        return CodecError(f"{why}{self.hint and '; ' + self.hint}")


def _loads(text: str) -> Any:
    """`json.loads` of a text that mostly has no space around its value, as `encode` makes them."""
    try:
        value, end = _read_json(text)
    except ValueError:
        end = -1
    return value if end == len(text) else json.loads(text)


def _refuse_value(value: Any) -> Any:
    """Writes a value that is not None where only None is allowed."""
    raise TypeMismatch(f"expected None, found {short_repr(value)}")


def _hashable(make: Any, type_: Any, *more: Any) -> Any:
    """`make(type_, *more)`, remembered unless the type cannot be hashed, e.g. Annotated with a list."""
    try:
        hash(type_)
    except TypeError:
        return make.__wrapped__(type_, *more)
    return make(type_, *more)


def takes_none(type_: Any) -> bool:
    """Whether the type allows None."""
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Annotated:
        return takes_none(args[0])
    if origin in (typing.Union, UnionType):
        return any(map(takes_none, args))
    return type_ in (Any, object, None, NoneType) or (origin is typing.Literal and None in args)
