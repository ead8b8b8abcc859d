"""schema_form: the fields of a form for values of a JSON schema, and the value that a filled form means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

from attrs import evolve, field, frozen
from starlette.datastructures import FormData

from stepflow.model.schema_check import problem_of, resolved
from stepflow.server.errors import Refusal

Schema = Mapping[str, Any]
Kind = Literal["text", "whole", "number", "select", "json", "hidden"]
MOST_FIELDS, DEEPEST = 60, 4
ABSENT: Any = object()
NOTHING: Mapping[str, Any] = MappingProxyType({})
NAME: Schema = MappingProxyType({"type": "string", "minLength": 1, "maxLength": 512})  # of what has a name
TIME: Schema = MappingProxyType({"type": "string", "format": "date-time"})
PLAIN: Mapping[str, Kind] = {"string": "text", "integer": "whole", "number": "number"}


@frozen(kw_only=True)
class FormField:
    """A field of a form: its `name` is unique in the form, `path` is the place of its value in the whole one.

    A field that is left empty is left out if it is not `required`. `nullable`: then it is null. `choices` are (value, text) of a select.
    A value has to meet the `schema`, whose definitions are in `root`. `problem` is what was wrong with the `value` that was sent before.
    """

    name: str
    label: str
    kind: Kind = "text"
    required: bool = False
    nullable: bool = False
    default: str = ""
    hint: str = ""
    choices: Sequence[tuple[str, str]] = ()
    path: tuple[str, ...] = ()
    schema: Schema = NOTHING
    root: Schema = NOTHING
    value: str = field(default=ABSENT)
    problem: str = ""

    @property
    def takes_empty(self) -> bool:
        """Whether an empty text is a value of its own, and not the lack of one."""
        return self.kind == "text" and not self.nullable and not ({"format", "minLength"} & self.schema.keys())

    @property
    def shown(self) -> str:
        """What is in the field when the page is shown."""
        return self.default if self.value is ABSENT else self.value


def fields_of(schema: Schema | None, name: str, label: str) -> list[FormField]:
    """The fields for a value: one for each property of an object, also of those inside it; one of JSON for what has no better form."""
    whole = FormField(name=name, label=label, kind="json", required=True, hint="JSON; a text has double quotes")
    if schema is None:
        return [whole]
    found = _fields(schema, schema, FormField(name=name, label=label, required=True), 0)
    return found if len(found) <= MOST_FIELDS else [whole]


def _fields(root: Schema, schema: Schema, one: FormField, depth: int) -> list[FormField]:
    schema = resolved(root, schema)
    one = evolve(one, schema=schema, root=root)
    if "anyOf" in schema:
        others = [resolved(root, other) for other in schema["anyOf"]]
        kinds = [other for other in others if other.get("type") != "null"]
        if len(kinds) < len(others) and len(kinds) == 1:
            return _fields(root, {"default": schema.get("default"), **kinds[0]}, evolve(one, nullable=True), depth)
        return [_as_json(one, schema)]
    if schema.get("type") == "object" and schema.get("properties") and depth < DEEPEST and not one.nullable:
        needed, made = set(schema.get("required", ())), list[FormField]()
        for key, part in schema["properties"].items():
            label = key if not one.path else f"{one.label} / {key}"
            inner = FormField(name=f"{one.name}.{key}", label=label, required=key in needed, path=(*one.path, key))
            made += _fields(root, part, inner, depth + 1)
        return made
    return [_simple(one, schema)]


def _simple(one: FormField, schema: Schema) -> FormField:
    kind, hint, default = schema.get("type"), str(schema.get("description", "")), schema.get("default")
    one = evolve(one, hint=hint.partition("\n")[0])
    choices = [json.dumps(value) for value in schema.get("enum", ())]
    if kind == "boolean":
        choices = ["false", "true"]
    if choices:
        empty = [("", "")] if default is None else []  # no answer is chosen before the user chooses one
        texts = [(text, text.strip('"')) for text in choices]
        return evolve(
            one, kind="select", choices=[*empty, *texts], default="" if default is None else json.dumps(default)
        )
    if kind not in PLAIN:
        return _as_json(one, schema)
    if schema.get("format") == "date-time":
        one = evolve(one, hint=one.hint or "a time with its offset, e.g. 2030-01-31T18:30:00Z")
    return evolve(one, kind=PLAIN[str(kind)], default="" if default is None else str(default))


def _as_json(one: FormField, schema: Schema) -> FormField:
    default = schema.get("default")
    text = "" if default is None else json.dumps(default, ensure_ascii=False)
    return evolve(one, kind="json", default=text, hint=one.hint or "JSON; a text has double quotes")


def filled(
    fields: Sequence[FormField], form: FormData | None, problems: Mapping[str, str] = NOTHING
) -> list[FormField]:
    """The fields with what was sent before, and with what was wrong with it, by their names."""
    if form is None:
        return list(fields)
    return [
        evolve(one, value=str(form.get(one.name, one.default)), problem=problems.get(one.name, "")) for one in fields
    ]


@frozen
class WrongFields(Refusal):
    """A form was filled in with what its fields do not take: why, by the name of the field."""

    problems: Mapping[str, str] = NOTHING


def wrong_fields(fields: Sequence[FormField], problems: Mapping[str, str]) -> WrongFields:
    """The refusal of a form for these reasons, by the names of its fields."""
    told = "; ".join(f"{one.label}: {problems[one.name]}" for one in fields if one.name in problems)
    return WrongFields(400, "invalid_argument", told, problems)


def value_of(fields: Sequence[FormField], form: FormData) -> Any:
    """The value that the fields of `fields_of` mean. Raises WrongFields for texts that are none of a field's kind."""
    (value,) = values_of((fields,), form)
    return value


def values_of(groups: Sequence[Sequence[FormField]], form: FormData) -> list[Any]:
    """The values that several groups of fields mean. Raises WrongFields for all of them together."""
    problems: dict[str, str] = {}
    values = [_whole(fields, form, problems) for fields in groups]
    if problems:
        raise wrong_fields([one for fields in groups for one in fields], problems)
    return values


def _whole(fields: Sequence[FormField], form: FormData, problems: dict[str, str]) -> Any:
    whole: Any = ABSENT
    for one in fields:
        text = str(form.get(one.name, ""))
        try:
            value = _value(one, text.strip("\r\n") if one.kind == "json" else text)
        except ValueError as error:
            problems[one.name], value = str(error), ABSENT
        if not one.path:
            return None if value is ABSENT else value
        whole = {} if whole is ABSENT else whole
        if value is not ABSENT:
            place = whole
            for key in one.path[:-1]:
                place = place.setdefault(key, {})
            place[one.path[-1]] = value
    return {} if whole is ABSENT else whole


def _value(one: FormField, text: str) -> Any:
    """The value of one field. Raises ValueError that says what to give instead."""
    if not text.strip() and not one.takes_empty:
        if one.nullable:
            return None
        if one.required:
            raise ValueError("give a value")
        return ABSENT
    if one.kind == "text" and not text and not one.required and not one.default:
        return ABSENT
    value = text if one.kind == "text" else _parsed(one, text)
    if problem := problem_of(value, one.schema, one.root):
        raise ValueError(problem)
    return value


def _parsed(one: FormField, text: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        what = {"whole": "a whole number, e.g. 3", "number": "a number, e.g. 2.5"}.get(one.kind)
        where = f"JSON: {error}" if what is None else what
        raise ValueError(f"{text!r:.60} is not {where}") from None
    if one.kind in ("whole", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{text!r:.60} is no number")
    return value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
