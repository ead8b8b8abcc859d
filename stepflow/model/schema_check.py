"""schema_check: why a JSON value does not meet a JSON schema, in words for the person who typed it.

Of a schema that `json_schema` made of types it takes exactly what a codec reads, since texts are given to the readers of the
codec, with some exceptions, which the flow finds when it takes the value: what code of a class refuses (a validator, the `__new__` of a
subclass of str, `_missing_` of an enum), bits of a Flag that only members with other bits have, members of a set that have no hash, values more than DEEPEST levels down, and what pydantic refuses. Its models
read much that their schemas do not tell, so a part of a model (`lax`) is refused only if it cannot be meant.
"""

from __future__ import annotations

import json
from base64 import b85decode
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

from stepflow.model.forms import KINDS as KIND_OF
from stepflow.model.scalars import SCALARS, read_decimal
from stepflow.model.times import read_date, read_datetime, read_time, read_timedelta

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
READERS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "integer": (lambda value: SCALARS[int](value, int), KINDS["integer"][0]),
    "number": (lambda value: SCALARS[float](value, float), KINDS["number"][0]),
    "boolean": (lambda value: SCALARS[bool](value, bool), KINDS["boolean"][0]),
    "date-time": (read_datetime, "a time with its offset, e.g. 2030-01-31T18:30:00Z"),
    "date": (read_date, "a date, e.g. 2030-01-31"),
    "time": (read_time, "a time of day, e.g. 18:30:00"),
    "seconds": (read_timedelta, "a number of seconds, e.g. 2.5"),
    "decimal": (read_decimal, 'a number as text, e.g. "1.10"'),
    "uuid": (UUID, "a UUID, e.g. 12345678-1234-5678-1234-567812345678"),
    "base85": (b85decode, "bytes in base85"),
}
"""How a codec reads a format, or a type without one, and what it takes."""
TYPE_KINDS = {
    "string": {"text"},
    "integer": {"int", "bool"},
    "number": {"float", "int", "bool"},
    "boolean": {"bool"},
    "array": {"list"},
    "object": {"object"},
    "null": {"null"},
}
MADE_KINDS = {"string": {"text"}, "integer": {"int"}, "number": {"float"}}
BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    "minimum": (lambda value, bound: value >= bound, "at least {}"),
    "maximum": (lambda value, bound: value <= bound, "at most {}"),
    "exclusiveMinimum": (lambda value, bound: value > bound, "more than {}"),
    "exclusiveMaximum": (lambda value, bound: value < bound, "less than {}"),
    "minLength": (lambda value, bound: len(value) >= bound, "a text of {} characters or more"),
    "maxLength": (lambda value, bound: len(value.strip()) <= bound, "a text of {} characters or fewer"),
    "minItems": (lambda value, bound: len(value) >= bound, "a list of {} items or more"),
    "maxItems": (lambda value, bound: len(value) <= bound, "a list of {} items or fewer"),
}
BOUNDED = {"minLength": (str,), "maxLength": (str,), "minItems": (list,), "maxItems": (list,)}


EXAMPLES: Mapping[str, Any] = {
    "string": "a", "integer": 3, "number": 2.5, "boolean": True, "null": None, "date-time": "2030-01-31T18:30:00Z", "date": "2030-01-31",
    "time": "18:30:00", "seconds": 2.5, "decimal": "1.10", "uuid": "12345678-1234-5678-1234-567812345678", "base85": "",
}  # fmt: skip
LONGEST = 100  # characters of an example


def problem_of(value: Any, schema: Schema, root: Schema, *, strict: bool = False) -> str:
    """What is wrong with a value, with its place in it, e.g. `[1].price: give a number`; empty if nothing is. `root` has the definitions.

    `strict`: nor is a value of another JSON type taken that a codec would read, e.g. the text of a number.
    """
    return next(_problems(value, schema, _Place(root, strict=strict)), "")


def resolved(root: Schema, schema: Schema) -> Schema:
    """The schema with what it refers to, which its own entries add to."""
    for _step in range(DEEPEST):
        reference = schema.get("$ref")
        if reference is None:
            break
        target = root.get("$defs", {}).get(str(reference).removeprefix("#/$defs/"), {})  # the name may have a `/`
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


class _Place:
    """A place in the value: its name, how deep it is, whether it is inside of a model of pydantic, and whether types have to agree."""

    def __init__(
        self, root: Schema, name: str = "", depth: int = 0, lax: bool = False, *, strict: bool = False
    ) -> None:
        self.root, self.name, self.depth, self.lax, self.strict = root, name, depth, lax, strict

    def at(self, name: str, lax: bool) -> _Place:
        return _Place(self.root, name, self.depth + 1, self.lax or lax, strict=self.strict)

    def told(self, value: Any, wanted: str) -> str:
        return self.about(f"{json.dumps(value, ensure_ascii=False)[:60]} does not fit: give {wanted}")

    def about(self, text: str) -> str:
        return f"{self.name}: {text}" if self.name else text


def _problems(value: Any, schema: Schema, place: _Place) -> Iterator[str]:
    schema = resolved(place.root, schema)
    if place.depth > DEEPEST:
        return
    if schema.get("lax") and not place.lax:
        place = place.at(place.name, lax=True)
    form = str(schema.get("format", schema.get("type")))
    if place.strict and not _is_kind(value, schema):
        yield place.told(value, _wanted(schema, place.root))
    elif form in READERS and not place.lax:
        read, wanted = READERS[form]
        try:
            read(value)
        except Exception:  # noqa: BLE001 - as in a codec
            yield place.told(value, wanted)
    elif others := [resolved(place.root, one) for one in schema.get("anyOf", ())]:
        yield from _of_any(value, others, place)
    elif "enum" in schema:
        if not _is_one_of(value, schema, place.lax):
            yield place.told(value, f"one of {', '.join(map(json.dumps, schema['enum']))}")
    elif not (_lax_kind if place.lax else _is_kind)(value, schema):
        yield place.told(value, _wanted(schema, place.root))
    else:
        yield from _bounds(value, schema, place)
        yield from _inside(value, schema, place)


def _wanted(schema: Schema, root: Schema) -> str:
    """What fits a schema: of an object or a list with an example that does."""
    kind, form = str(schema.get("type")), str(schema.get("format", schema.get("type")))
    if form in READERS:
        return READERS[form][1]
    if others := [resolved(root, one) for one in schema.get("anyOf", ())]:
        return " or ".join(dict.fromkeys(_wanted(one, root) for one in others))
    if "enum" in schema:
        return f"one of {', '.join(map(json.dumps, schema['enum']))}"
    if kind not in ("object", "array"):
        return KINDS[kind][0] if kind in KINDS else "a value"
    example = _example(schema, root, 0)
    text, name = json.dumps(example, ensure_ascii=False), KINDS[kind][0].partition(",")[0]
    return name if len(text) > LONGEST or problem_of(example, schema, root) else f"{name}, e.g. {text}"


def _example(schema: Schema, root: Schema, depth: int) -> Any:
    """A value that mostly fits: of an object the fields that it needs, or else the first."""
    schema = resolved(root, schema)
    kind, form = str(schema.get("type")), str(schema.get("format", schema.get("type")))
    if depth > DEEPEST or form in EXAMPLES:
        return EXAMPLES.get(form)
    for one in schema.get("enum", ()):
        return one
    for one in schema.get("anyOf", ()):
        return _example(one, root, depth + 1)
    if kind == "array":
        parts = schema.get("prefixItems") or [schema["items"]] if schema.get("items") else ()
        return [_example(one, root, depth + 1) for one in parts] or [1, 2]
    if kind != "object":
        return EXAMPLES.get(kind)
    known = schema.get("properties", {})
    if not known:
        rest = schema.get("additionalProperties", True)
        return {"name": _example(rest, root, depth + 1) if isinstance(rest, Mapping) and rest else 1}
    names = schema.get("required") or list(known)[:1]
    return {name: _example(known.get(name, {}), root, depth + 1) for name in names}


def _is_one_of(value: Any, schema: Schema, lax: bool) -> bool:
    """Whether it is a choice: of a class of enums an equal value is, else one of the same kind."""
    if lax:
        return any(value == one or str(value) == str(one) for one in schema["enum"])
    if "also" in schema:
        return "open" in schema or value in schema["enum"] or value in schema["also"]
    return any(value == one and type(value) is type(one) for one in schema["enum"])


def _of_any(value: Any, others: list[Schema], place: _Place) -> Iterator[str]:
    found = others if place.lax else _meant(value, others, place.root)
    tried = [(one, list(_problems(value, one, place.at(place.name, lax=False)))) for one in found]
    if all(problems for _one, problems in tried):
        near = [problems for one, problems in tried if "type" in one and _is_kind(value, one)]
        kinds = list(dict.fromkeys(_wanted(one, place.root) for one in others if one.get("type") in KINDS))
        alone = near[0] if len(near) == 1 else tried[0][1] if len(tried) == 1 and len(others) == 2 else None
        yield alone[0] if alone else place.told(value, " or ".join(kinds) or "another value")


def _meant(value: Any, others: list[Schema], root: Schema) -> list[Schema]:
    """The members of a union that a codec would try for a value: by its kind of JSON, of several classes by the fields."""
    real = [one for one in others if one.get("type") != "null"]
    if any(not one for one in others) or (value is None and len(real) < len(others)):
        return [{}]
    if len(others) == 2 and len(real) == 1:
        return real
    kind = KIND_OF[type(value)]
    fitting = [one for one in others if kind in _kinds(one, root) and _is_among(value, one)]
    classes = [one for one in others if "properties" in one and "lax" not in one]
    if len(classes) > 1 and kind == "object":
        fitting = [_class_for(classes, value)]
    fitting = fitting or real
    return fitting if len(fitting) == 1 or all(map(_is_plain, fitting)) else []


def _kinds(schema: Schema, root: Schema) -> set[str]:
    """The kinds of JSON that values of a member are stored as."""
    if "anyOf" in schema and schema.get("format") != "seconds":
        return set().union(*(_kinds(resolved(root, one), root) for one in schema["anyOf"]))
    if "enum" in schema:
        return {KIND_OF[type(one)] for one in schema["enum"]}
    if schema.get("format") == "seconds":
        return {"float", "text"}
    kinds = MADE_KINDS if "made" in schema else TYPE_KINDS
    return kinds.get(str(schema.get("type")), set(KIND_OF.values()))


def _is_among(value: Any, schema: Schema) -> bool:
    return "enum" not in schema or any(value == one and type(value) is type(one) for one in schema["enum"])


def _is_plain(schema: Schema) -> bool:
    """Whether values of a member are their own JSON, so that the first one that takes a value is as good as another."""
    if "anyOf" in schema:
        return "format" not in schema and all(map(_is_plain, schema["anyOf"]))
    of_scalar = schema.get("type") in ("string", "integer", "number", "boolean", "null") and "format" not in schema
    return ("enum" in schema or of_scalar) and not {"made", "lax"} & schema.keys()


def _class_for(classes: list[Schema], raw: Mapping[str, Any]) -> Schema:
    """As that of `converter`: the class whose tags agree, and that has the same fields, or as many as possible."""

    def agrees(one: Schema) -> bool:
        return all(_is_among(raw[name], part) for name, part in one["properties"].items() if name in raw)

    def likeness(one: Schema) -> tuple[bool, int, int]:
        names = one["properties"].keys()
        return names == raw.keys(), len(names & raw.keys()), -len(names)

    return max(filter(agrees, classes), key=likeness, default=classes[0])


def _is_kind(value: Any, schema: Schema) -> bool:
    kind = str(schema.get("type"))
    if kind not in KINDS:
        return True
    if isinstance(value, bool):
        return kind == "boolean" or schema.get("format") == "flags"
    return isinstance(value, KINDS[kind][1]) or (kind == "integer" and isinstance(value, float) and value.is_integer())


def _lax_kind(value: Any, schema: Schema) -> bool:
    """Whether a model of pydantic may read the value as that type: also texts of numbers, and numbers for times and for true and false."""
    kind = str(schema.get("type"))
    if kind in ("integer", "number", "boolean") and isinstance(value, str):
        return _has_digit(value) or kind == "boolean"
    if kind in ("integer", "number", "boolean") or "format" in schema:
        return isinstance(value, int | float | str)
    return _is_kind(value, schema)


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)


def _bounds(value: Any, schema: Schema, place: _Place) -> Iterator[str]:
    for name, (meets, text) in BOUNDS.items():
        if (
            name in schema
            and isinstance(value, BOUNDED.get(name, (int, float)))
            and not isinstance(value, bool)
            and not meets(value, schema[name])
        ):
            yield place.told(value, text.format(schema[name]))
    if "bits" in schema and not _is_sum(int(value), schema["bits"]):
        yield place.told(value, f"a sum of {', '.join(map(str, schema['bits']))}, or 0")
    form = schema.get("format")
    if isinstance(value, str) and form in ("date-time", "date", "time") and not _has_digit(value):
        yield place.told(value, READERS[form][1])


def _is_sum(number: int, bits: list[int]) -> bool:
    """Whether a number has these bits only; a negative one has all others than its complement, as for a Flag."""
    every = (1 << sum(bits).bit_length()) - 1
    return ~every <= number <= every and not number & (every ^ sum(bits))


def _inside(value: Any, schema: Schema, place: _Place) -> Iterator[str]:
    if isinstance(value, list):
        first = schema.get("prefixItems", ())
        for number, item in enumerate(value):
            part = first[number] if number < len(first) else schema.get("items", {})
            yield from _problems(item, part, place.at(f"{place.name}[{number}]", lax=False))
    elif isinstance(value, dict):
        yield from _of_object(value, schema, place)


def _of_object(value: dict[str, Any], schema: Schema, place: _Place) -> Iterator[str]:
    known, rest = schema.get("properties", {}), schema.get("additionalProperties", not schema.get("properties"))
    for name in schema.get("required", ()):
        if name not in value:
            part = resolved(place.root, known.get(name, {}))
            yield place.about(f"it has no {json.dumps(name)}: give {_wanted(part, place.root)}")
    if not rest and rest != {} and (unknown := [name for name in value if name not in known]):
        has = f"it has {', '.join(known)}" if known else "it has no fields"
        yield place.about(f"{json.dumps(unknown[0])} is unknown: {has}")
    for name, item in value.items():
        inner = place.at(f"{place.name}.{name}" if place.name else name, lax=False)
        if "keys" in schema:
            yield from (f"a key of {problem}" for problem in _problems(name, schema["keys"], inner))
        part = known.get(name, rest if isinstance(rest, Mapping) else {})
        yield from _problems(item, part, inner)
