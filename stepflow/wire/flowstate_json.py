"""The JSON form of flowstate.v1 messages: nearly that of protobuf, with its own names and rules.

One table tells how each message is written. 64-bit numbers are texts, what is zero or empty is left out, and names are read whatever
their case, in the spelling of protobuf as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from attrs import frozen
from google.protobuf.message import Message

Kind = Literal["text", "number", "flag", "notes", "message", "messages", "datas", "groups"]
MAX_DEPTH = 8  # of nested objects; a stacked State is a text


class BadMessage(ValueError):
    """What was sent is no message of that kind."""


@frozen
class Field:
    """A field of a message: its JSON name, its protobuf name, and what it holds.

    `also` are other JSON names that are read. `always` is written even if it is not set, a message as null unless it is `made`.
    """

    key: str
    name: str
    kind: Kind
    also: tuple[str, ...] = ()
    always: bool = False
    made: bool = False


def _ref(key: str = "stateRef", name: str = "state_ref", *also: str) -> Field:
    return Field(key, name, "message", also)


_NOTES = Field("annotations", "annotations", "notes")
_COMMANDS = tuple(
    Field(key, name, "message", also)
    for key, name, also in (
        ("transit", "transit", ()),
        ("park", "park", ()),
        ("execute", "execute", ()),
        ("delay", "delay", ()),
        ("commit", "commit", ()),
        ("noop", "noop", ()),
        ("stack", "stack", ()),
        ("unstack", "unstack", ()),
        ("storeData", "store_data", ()),
        ("getData", "get_data", ()),
        ("getStateByID", "get_state_by_id", ()),
        ("getStateByLabels", "get_state_by_labels", ()),
        ("getStates", "get_states", ()),
        ("getDelayedStates", "get_delayed_states", ()),
    )
)
COMMANDS = tuple(field.name for field in _COMMANDS)
"""The protobuf names of the commands; a JSON object that has several means the first of them."""

FORMS: Mapping[str, tuple[Field, ...]] = {
    "State": (
        Field("id", "id", "text"),
        Field("rev", "rev", "number"),
        _NOTES,
        Field("labels", "labels", "notes"),
        Field("committedAtUnixMilli", "committed_at_unix_milli", "number"),
        Field("transition", "transition", "message", always=True, made=True),
    ),
    "Transition": (Field("to", "to", "text"), _NOTES),
    "StateCtx": (
        Field("current", "current", "message", always=True, made=True),
        Field("committed", "committed", "message"),
        Field("transitions", "transitions", "messages"),
        Field("datas", "datas", "datas"),
    ),
    "StateCtxRef": (Field("idx", "idx", "number", always=True),),
    "Data": (Field("rev", "rev", "number"), Field("blob", "blob", "text"), _NOTES),
    "DelayedState": (
        Field("state", "state", "message"),
        Field("offset", "offset", "number"),
        Field("executeAtSec", "execute_at_sec", "number"),
    ),
    "Command": (Field("stateCtxs", "state_ctxs", "messages"), *_COMMANDS),
    "TransitCommand": (_ref(), Field("flowId", "to", "text", ("to",)), _NOTES),
    "ParkCommand": (_ref("stateRef", "state_ref", "stateRexf"), _NOTES),
    "ExecuteCommand": (_ref(),),
    "DelayCommand": (
        _ref(),
        Field("executeAtSec", "execute_at_sec", "number"),
        Field("commit", "commit", "flag"),
        Field("to", "to", "text"),
        _NOTES,
        Field("result", "result", "message"),
    ),
    "CommitCommand": (Field("commands", "commands", "messages"),),
    "NoopCommand": (),
    "StackCommand": (
        _ref("stackedStateRef", "stack_state_ref", "stackStateRef"),
        _ref("carrierStateRef", "carrier_state_ref"),
        Field("annotation", "annotation", "text"),
    ),
    "UnstackCommand": (
        _ref("carrierStateRef", "carrier_state_ref"),
        Field("annotation", "annotation", "text"),
        _ref("unstackStateRef", "unstack_state_ref"),
    ),
    "StoreDataCommand": (_ref(), Field("alias", "alias", "text")),
    "GetDataCommand": (_ref(), Field("alias", "alias", "text")),
    "GetStateByIDCommand": (_ref(), Field("id", "id", "text"), Field("rev", "rev", "number")),
    "GetStateByLabelsCommand": (Field("labels", "labels", "notes"), _ref()),
    "GetStatesCommand": (
        Field("sinceRev", "since_rev", "number"),
        Field("sinceTime_usec", "since_time_usec", "number", ("sinceTimeUsec",)),
        Field("labels", "labels", "groups"),
        Field("latestOnly", "latest_only", "flag"),
        Field("limit", "limit", "number"),
        Field("result", "result", "message"),
    ),
    "GetStatesCommand.Result": (
        Field("states", "states", "messages", always=True),
        Field("more", "more", "flag"),
    ),
    "GetDelayedStatesCommand": (
        Field("sinceTimeSec", "since_time_sec", "number"),
        Field("untilTimeSec", "until_time_sec", "number"),
        Field("offset", "offset", "number"),
        Field("limit", "limit", "number"),
        Field("Result", "result", "message", always=True),
    ),
    "GetDelayedStatesCommand.Result": (
        Field("delayedStates", "delayed_states", "messages", always=True),
        Field("more", "more", "flag"),
    ),
    "Error": (Field("code", "code", "text", always=True), Field("message", "message", "text", always=True)),
}
_BY_NAME = {
    form: {name.lower(): field for field in fields for name in (*field.also, field.key)}
    for form, fields in FORMS.items()
}


def dump(message: Message) -> bytes:
    """The JSON text of a message."""
    return json.dumps(_object(message), ensure_ascii=False, separators=(",", ":")).encode()


def load(raw: bytes, message: Message) -> None:
    """Fill an empty message from its JSON text; BadMessage tells where the text is wrong."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"the body is no JSON: {error}") from None
    _fill(message, value, "", 0)


def _form(message: Message) -> str:
    return message.DESCRIPTOR.full_name.removeprefix("flowstate.v1.")


def _object(message: Message) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in FORMS[_form(message)]:
        value = getattr(message, field.name)
        if field.kind == "message":
            if field.made or message.HasField(field.name):
                if field.name != "committed" or value.rev > 0:
                    out[field.key] = _object(value)
            elif field.always:
                out[field.key] = None
        elif value or field.always:
            out[field.key] = _plain(field, value)
    return out


def _plain(field: Field, value: Any) -> Any:
    match field.kind:
        case "number":
            return str(value)
        case "notes":
            return dict(value)
        case "messages":
            return [_object(item) for item in value]
        case "datas":
            return {alias: _object(value[alias]) for alias in sorted(value)}
        case "groups":
            return [dict(group.labels) for group in value]
        case _:
            return value


def _fill(message: Message, value: Any, path: str, depth: int) -> None:
    form = _form(message)
    if depth > MAX_DEPTH:
        raise BadMessage(f"{path}: nested too deeply")
    for name, (field, item) in _given(form, _checked(value, dict, "an object", path)).items():
        where = f"{path}.{name}" if path else name
        match field.kind:
            case "message":
                part = getattr(message, field.name)
                part.SetInParent()
                _fill(part, item, where, depth + 1)
            case "messages":
                items = getattr(message, field.name)
                for number, one in enumerate(_checked(item, list, "a list", where)):
                    _fill(items.add(), one, f"{where}[{number}]", depth + 1)
            case "datas":
                datas = getattr(message, field.name)
                for alias, data in _checked(item, dict, "an object", where).items():
                    _fill(datas[_text(alias, where)], data, f"{where}.{alias}", depth + 1)
            case "groups":
                for number, group in enumerate(_checked(item, list, "a list", where)):
                    _put_notes(message.labels.add().labels, _group(group), f"{where}[{number}]")  # type: ignore[attr-defined]
            case "notes":
                _put_notes(getattr(message, field.name), item, where)
            case "number":
                setattr(message, field.name, _number(item, where))
            case "flag":
                setattr(message, field.name, _checked(item, bool, "true or false", where))
            case "text":
                setattr(message, field.name, _text(item, where))


def _given(form: str, value: dict[str, Any]) -> dict[str, tuple[Field, Any]]:
    """The known fields that are set; of several commands the first one in the order of the table."""
    known = _BY_NAME[form]
    found = {
        name: (known[name.lower()], item) for name, item in value.items() if name.lower() in known and item is not None
    }
    if form != "Command":
        return found
    named = {field.name for field, _item in found.values()}
    first = next((name for name in COMMANDS if name in named), "")
    return {name: pair for name, pair in found.items() if pair[0].name in ("state_ctxs", first)}


def _group(group: Any) -> Any:
    """A group of labels: a plain map, or the message that holds one."""
    if isinstance(group, Mapping) and list(group) == ["labels"] and isinstance(group["labels"], Mapping):
        return group["labels"]
    return group


def _put_notes(notes: Any, value: Any, path: str) -> None:
    for key, text in _checked(value, dict, "an object of texts", path).items():
        if not key:
            raise BadMessage(f"{path}: a key is empty")
        notes[_text(key, path)] = _text(text, f"{path}.{key}")


def _number(value: Any, path: str) -> int:
    text = _checked(value, str, "a number as text", path)
    try:
        number = int(text or "0")
    except ValueError:
        raise BadMessage(f"{path}: {text!r:.40} is no number") from None
    if not -(1 << 63) <= number < 1 << 63 or not text.isascii():
        raise BadMessage(f"{path}: {text!r:.40} is no 64-bit number")
    return number


def _text(value: Any, path: str) -> str:
    text: str = _checked(value, str, "a text", path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadMessage(f"{path}: the text has half of a surrogate pair") from None
    return text


def _checked(value: Any, kind: type[Any], wanted: str, path: str) -> Any:
    if not isinstance(value, kind):
        raise BadMessage(f"{path or 'the body'}: {value!r:.40} is not {wanted}")
    return value
