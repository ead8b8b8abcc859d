"""schema_check: why a JSON value does not meet a JSON schema, in words for the person who typed it.

It knows what `json_schema` and pydantic make of types; what else is in a schema is left to the flow that takes the value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any

Schema = Mapping[str, Any]
DEEPEST = 50
KINDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "string": ('a text in double quotes, e.g. "a"', (str,)),
    "integer": ("a whole number, e.g. 3", (int,)),
    "number": ("a number, e.g. 2.5", (int, float)),
    "boolean": ("true or false", (bool,)),
    "array": ("a list, e.g. [1, 2]", (list,)),
    "object": ('an object, e.g. {"name": 1}', (dict,)),
    "null": ("null", (type(None),)),
}
BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda value, bound: value >= bound, "at least {}"),
    "maximum": (lambda value, bound: value <= bound, "at most {}"),
    "exclusiveMinimum": (lambda value, bound: value > bound, "more than {}"),
    "exclusiveMaximum": (lambda value, bound: value < bound, "less than {}"),
    "minLength": (lambda value, bound: len(value) >= bound, "a text of {} characters or more"),
    "maxLength": (lambda value, bound: len(value) <= bound, "a text of {} characters or fewer"),
    "minItems": (lambda value, bound: len(value) >= bound, "a list of {} items or more"),
    "maxItems": (lambda value, bound: len(value) <= bound, "a list of {} items or fewer"),
}
BOUNDED = {"minLength": (str,), "maxLength": (str,), "minItems": (list,), "maxItems": (list,)}


def problem_of(value: Any, schema: Schema, root: Schema) -> str:
    """What is wrong with a value, with its place in it, e.g. `[1].price: give a number`; empty if nothing is. `root` has the definitions."""
    return next(_problems(value, schema, root, "", 0), "")


def resolved(root: Schema, schema: Schema) -> Schema:
    """The schema with what it refers to, which its own entries add to."""
    for _step in range(DEEPEST):
        reference = schema.get("$ref")
        if reference is None:
            break
        target = root.get("$defs", {}).get(str(reference).removeprefix("#/$defs/"), {})  # the name may have a `/`
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _problems(value: Any, schema: Schema, root: Schema, place: str, depth: int) -> Iterator[str]:
    schema = resolved(root, schema)
    if depth > DEEPEST:
        return
    if others := [resolved(root, one) for one in schema.get("anyOf", ())]:
        yield from _of_any(value, others, root, place, depth)
    elif "enum" in schema:
        if not any(value == one and type(value) is type(one) for one in schema["enum"]):
            yield _told(place, value, f"one of {', '.join(map(json.dumps, schema['enum']))}")
    elif not _is_kind(value, schema):
        yield _told(place, value, KINDS[str(schema.get("type"))][0])
    else:
        yield from _bounds(value, schema, place)
        yield from _inside(value, schema, root, place, depth)


def _of_any(value: Any, others: list[Schema], root: Schema, place: str, depth: int) -> Iterator[str]:
    tried = [(one, list(_problems(value, one, root, place, depth + 1))) for one in others]
    if all(problems for _one, problems in tried):
        near = [problems for one, problems in tried if "type" in one and _is_kind(value, one)]
        kinds = list(dict.fromkeys(KINDS[str(one["type"])][0] for one in others if one.get("type") in KINDS))
        yield near[0][0] if len(near) == 1 else _told(place, value, " or ".join(kinds) or "another value")


def _is_kind(value: Any, schema: Schema) -> bool:
    kind = str(schema.get("type"))
    if kind not in KINDS:
        return True
    if isinstance(value, bool):
        return kind == "boolean"
    if schema.get("format") in ("decimal", "duration") and isinstance(value, int | float):
        return True  # these are written as text, and read from a number, too
    return isinstance(value, KINDS[kind][1]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _bounds(value: Any, schema: Schema, place: str) -> Iterator[str]:
    for name, (meets, text) in BOUNDS.items():
        if (
            name in schema
            and isinstance(value, BOUNDED.get(name, (int, float)))
            and not isinstance(value, bool)
            and not meets(value, schema[name])
        ):
            yield _told(place, value, text.format(schema[name]))
    if isinstance(value, str) and (wanted := _time_problem(value, schema)):
        yield _told(place, value, wanted)


def _time_problem(text: str, schema: Schema) -> str:
    """What a text should be of which the format says that it is a time; empty if it is one, or none is asked for."""
    kind = str(schema.get("format"))
    with suppress(ValueError):
        if kind == "date-time":
            at = datetime.fromisoformat(text.partition("[")[0])  # behind it may be the name of a zone
            return "" if at.tzinfo or schema.get("naive") else "a time with its offset, e.g. 2030-01-31T18:30:00+00:00"
        if kind == "date":
            date.fromisoformat(text)
        return ""
    return {"date-time": "a time with its offset, e.g. 2030-01-31T18:30:00+00:00"}.get(kind, "a date, e.g. 2030-01-31")


def _inside(value: Any, schema: Schema, root: Schema, place: str, depth: int) -> Iterator[str]:
    if isinstance(value, list):
        first = schema.get("prefixItems", ())
        for number, item in enumerate(value):
            part = first[number] if number < len(first) else schema.get("items", {})
            yield from _problems(item, part, root, f"{place}[{number}]", depth + 1)
    elif isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{place and place + ': '}it has no {json.dumps(name)}"
        if (
            known
            and not schema.get("additionalProperties")
            and (unknown := [name for name in value if name not in known])
        ):
            yield f"{place and place + ': '}{json.dumps(unknown[0])} is unknown: it has {', '.join(known)}"
        for name, item in value.items():
            part = known.get(name, rest if isinstance(rest, Mapping) else {})
            yield from _problems(item, part, root, f"{place}.{name}" if place else name, depth + 1)


def _told(place: str, value: Any, wanted: str) -> str:
    return f"{place and place + ': '}{json.dumps(value, ensure_ascii=False)[:60]} does not fit: give {wanted}"
