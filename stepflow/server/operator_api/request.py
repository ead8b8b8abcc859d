"""request: reads the query and the body of a call, strictly, as the types of its operation say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import Request

from stepflow.model.suggest import suggest
from stepflow.server.body import body_of
from stepflow.server.errors import Refusal
from stepflow.server.operator_api.operation import Body, InNamespace

Q = TypeVar("Q", bound=InNamespace)
B = TypeVar("B", bound=Body)
JSON = "application/json"
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
PLACE = re.compile(r"\.(\w+)|\[(\d+)\]")
Schema = dict[str, Any]


@lru_cache(maxsize=256)
def _described(kind: type[msgspec.Struct]) -> tuple[Schema, Mapping[str, Schema]]:
    """The JSON schema of a class, which refers to others by their names."""
    (reference,), components = msgspec.json.schema_components([kind], ref_template="#/{name}")
    return reference, components


@lru_cache(maxsize=256)
def properties_of(kind: type[msgspec.Struct]) -> Mapping[str, Schema]:
    """The JSON schemas of the fields of a query, without references and without null, which no query can have."""
    _reference, components = _described(kind)
    found: dict[str, Schema] = components[kind.__name__]["properties"]
    return {name: _without_null(schema) for name, schema in found.items()}


def _without_null(schema: Schema) -> Schema:
    kept = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    if "anyOf" in kept:
        (only,) = [one for one in kept.pop("anyOf") if one.get("type") != "null" and None not in one.get("enum", ())]
        kept = only | kept
    return kept


def query_of(request: Request, kind: type[Q]) -> Q:
    """The query of a request. Raises Refusal 400 for one that the document does not describe."""
    given: dict[str, Any] = {}
    schemas = properties_of(kind)
    for name, text in request.query_params.multi_items():
        type_ = schemas.get(name, {}).get("type")
        if type_ == "array":
            given.setdefault(name, []).append(text)
        elif name in given:
            raise Refusal(400, "invalid_argument", f"query: {name!r:.80} is given twice: give it once")
        else:
            given[name] = _value(text, type_)
    return cast(Q, checked(given, kind, "query"))


def _value(text: str, type_: str | None) -> Any:
    """The text of a number or a truth value as such, any other as it is: then the check tells what is wrong with it."""
    if type_ == "integer" and WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return text == "true" if type_ == "boolean" and text in ("true", "false") else text


async def read_body(request: Request, kind: type[B]) -> B:
    """The JSON body of a request. Raises Refusal: 415 for another form, 413 if it is too large, 400 if the document does not describe it."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != JSON:  # a form of a page of another site cannot send it
        raise Refusal(415, "invalid_argument", f"content-type {sent!r:.80}: send JSON as {JSON}")
    raw = await body_of(request)
    try:
        given = json.loads(raw, parse_constant=_no_number)
        if b"\\ud" in raw.lower():
            json.dumps(given, ensure_ascii=False).encode()  # UnicodeEncodeError: half of a character pair
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "invalid_argument", f"the body is no JSON: {error}") from None
    return cast(B, checked(_with_whole_numbers(given, *_described(kind)), kind, "body"))


def _with_whole_numbers(value: Any, schema: Schema, components: Mapping[str, Schema]) -> Any:
    """The value with 3.0 as 3 where a whole number is due: in JSON both are the same."""
    schema = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(value, dict) and "properties" in schema:
        parts = schema["properties"]
        return {name: _with_whole_numbers(one, parts.get(name, {}), components) for name, one in value.items()}
    if isinstance(value, list) and "items" in schema:
        return [_with_whole_numbers(one, schema["items"], components) for one in value]
    if isinstance(value, float) and value.is_integer():
        due = "integer" in {one.get("type") for one in (schema, *schema.get("anyOf", ()))}
        return int(value) if due else value
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def checked(given: Any, kind: Any, where: str) -> Any:
    """What was given as a value of this class. Raises Refusal 400 for what the document does not describe."""
    try:
        return msgspec.convert(given, kind)
    except (
        msgspec.ValidationError,
        RecursionError,
        UnicodeEncodeError,
    ) as error:  # the last one: half of a character pair
        raise Refusal(
            400, "invalid_argument", f"{where}: {error}{_known(str(error), kind)}; see the OpenAPI document"
        ) from None


def _schema_at(place: str, kind: Any) -> Schema:
    """What the document has for a place such as `.filter.status[0]`."""
    schema, components = _described(kind)
    for name, number in PLACE.findall(f".{place}" if place[:1] not in ".[" else place):
        schema = _resolved(schema, components)
        schema = schema.get("items", {}) if number else schema.get("properties", {}).get(name, {})
    return _resolved(schema, components)


def _resolved(schema: Schema, components: Mapping[str, Schema]) -> Schema:
    """The schema behind a reference; of one that may be null the other one."""
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            return _resolved(one, components)
    return components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _known(wrong: str, kind: Any) -> str:
    """If a field or a value is unknown: the similar one among those that the document has at that place, or all of them."""
    schema = _schema_at(wrong.partition(" - at `$")[2], kind)
    if wrong.startswith("Invalid enum value"):
        given, known, all_of = wrong.split("'")[1:2], schema.get("enum", ()), "give one of"
    elif wrong.startswith("Object contains unknown field"):
        given, known, all_of = wrong.split("`")[1:2], schema.get("properties", ()), "it takes"
    else:
        return ""
    names = sorted(map(str, known))
    similar = suggest(given[0], names) if given else ""
    return f", did you mean {similar!r}?" if similar else f", {all_of} {', '.join(names)}" if names else ""
