"""The OpenAPI 3.1 document of the operator's API, made of the operations themselves."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import msgspec

from stepflow.errors import CodecError
from stepflow.model.flow import Flow
from stepflow.model.json_schema import json_schema
from stepflow.server.errors import REMEDIES
from stepflow.server.operator_api.actions import LimitBody, StartBody
from stepflow.server.operator_api.operation import Kind, NoBody, Operation
from stepflow.server.operator_api.request import JSON, Schema, properties_of

BASE = "/api/v1"
DURATION = r"^PT[0-9]+(\.[0-9]+)?S$"  # as `to_json_value` writes them
REFERENCE = "#/components/schemas/{name}"
TAGS: dict[Kind, str] = {
    "run": "One run. Its id is a parameter, not a part of the path: ids of children contain slashes.",
    "runs": "Many runs, by a filter or by ids.",
    "flow": "Flows.",
    "schedule": "Schedules.",
    "store": "The store, those who work on it, and the audit.",
}
REASONS = {
    400: "The request is none that this document describes; the message tells where.",
    401: "There is no valid token.",
    403: "The token does not allow that, or the host or the site of the caller is not allowed.",
    404: "There is no such run, schedule or page, the server does not know the flow, or no flow can have this name.",
    408: "The body did not come in time.",
    409: "It is understood, and what is stored does not allow it (any more): the message tells why, and what to do.",
    413: "The body, or a value in it, is too large.",
    415: "The body is not sent as JSON.",
    429: "Too many wrong tokens came from this address.",
    500: "The server failed; its log has more.",
    503: "The store cannot be used, or the server is shutting down.",
    507: "The store is full.",
}
TRACE = {
    "traceparent": (
        "The trace of the caller, W3C Trace Context: a run that the call starts belongs to it. What is not well formed is ignored.",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    "tracestate": ("What systems of tracing keep beside it; ignored without `traceparent`.", "vendor=value"),
}
"""Headers of calls that change something: what they say, and an example."""
_FIRST, _NEXT = r"[0-9A-Za-z!#$%&()*+;<=>?@^_`{|-]", r"[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]"
_LONGEST_S = 86_399_999_999_999  # and some microseconds more: `timedelta.max`
_SECONDS = r"[0-9]{1,13}|[1-7][0-9]{13}|8[0-5][0-9]{12}|86[0-3][0-9]{11}"
FORMS: dict[str, Schema] = {
    "decimal": {"pattern": r"^-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]{1,3})?$"},
    "base85": {"pattern": rf"^({_FIRST}{_NEXT}{{4}})*({_FIRST}{_NEXT}{{1,4}})?$"},
    "seconds": {
        "anyOf": [
            {"type": "number", "minimum": timedelta.min.total_seconds(), "maximum": _LONGEST_S},
            {"type": "string", "pattern": rf"^-?({_SECONDS})(\.[0-9]{{1,6}})?$"},
        ]
    },
}
"""What a JSON schema leaves to the names of our formats."""
ALWAYS, WITH_BODY = (400, 401, 403, 429, 500, 503, 507), (408, 413, 415)
PROBLEM: Schema = {
    "title": "Problem",
    "type": "object",
    "description": "Why a call was refused: a code for programs, what was wrong, and what to do next.",
    "properties": {"code": {"enum": sorted(REMEDIES)}, "message": {"type": "string"}, "remedy": {"type": "string"}},
    "required": ["code", "message", "remedy"],
}


def document(operations: Sequence[Operation], flows: Iterable[Flow[Any, Any]] = ()) -> Schema:
    """The document of a server that knows these flows: it has the inputs with which they start."""
    bodies = [one.body for one in operations if one.body is not NoBody]
    answers = [one.answer for one in operations]
    kinds = list(dict.fromkeys([*bodies, *answers]))
    found, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    for kind in _classes(answers):
        _mark_times(kind, components[kind.__name__])
    for body in bodies:
        if body.one_of:
            components[body.__name__]["oneOf"] = [{"required": [name]} for name in body.one_of]
    components[LimitBody.__name__]["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "integer"}}} for name in ("concurrency", "rate")
    ]
    _add_inputs(components, {flow.name: flow for flow in flows})
    references = dict(zip(kinds, found, strict=True))
    paths: dict[str, Schema] = {}
    for one in operations:
        paths.setdefault(BASE + one.path, {})[one.method.lower()] = _operation(one, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": "stepflow", "version": "1", "description": "Reads, mends and steers the runs of a store."},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components | {"Problem": PROBLEM},
            "parameters": {name: _header(name, *told) for name, told in TRACE.items()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _add_inputs(components: dict[str, Schema], flows: Mapping[str, Flow[Any, Any]]) -> None:
    """Say which input each flow takes, in the body that starts a run; their definitions become components."""
    choices: list[Schema] = []
    for name, flow in sorted(flows.items()):
        schema: Schema = dict(json_schema(flow.codec.type) or {})
        parts: Mapping[str, Schema] = schema.pop("$defs", {})
        names = {part: _free(f"{name}.{part}", components) for part in parts}
        components |= {names[part]: _renamed(one, names) for part, one in parts.items()}
        wanted = ["flow"] if _takes_null(flow) else ["flow", "input"]
        choices.append({"properties": {"flow": {"const": name}, "input": _renamed(schema, names)}, "required": wanted})
    if choices:
        components[StartBody.__name__]["anyOf"] = choices


def _free(name: str, taken: Iterable[str]) -> str:
    """A name of a component that is not taken."""
    made = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    while made in taken:
        made += "_"
    return made


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """The schema with references to components instead of its own definitions, and with what our formats mean."""
    if isinstance(schema, list):
        return [_renamed(one, names) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {
        key: REFERENCE.format(name=names[value.removeprefix("#/$defs/")]) if key == "$ref" else _renamed(value, names)
        for key, value in schema.items()
    }
    return found | FORMS.get(str(found.get("format")), {})


def _takes_null(flow: Flow[Any, Any]) -> bool:
    """Whether an input that is left out is one."""
    try:
        flow.codec.decode("null")
    except CodecError:
        return False
    return True


def _operation(one: Operation, references: dict[Any, Schema]) -> Schema:
    text = inspect.getdoc(one.call) or ""
    more = " Without a dry run the scope is `admin`." if one.admin_for is not None else ""
    statuses = sorted({*ALWAYS, *one.refusals, *(() if one.body is NoBody else WITH_BODY)})
    made: Schema = {
        "operationId": one.name,
        "tags": [one.kind],
        "summary": text.partition("\n")[0],
        "description": f"{text}\n\nNeeds the scope `{one.scope}`.{more}",
        "parameters": [_parameter(one, name, schema) for name, schema in properties_of(one.query).items()]
        + ([{"$ref": f"#/components/parameters/{name}"} for name in TRACE] if one.method == "POST" else []),
        "responses": {
            "200": {"description": "Done.", "content": {JSON: {"schema": references[one.answer]}}},
            **{str(status): _refused(status) for status in statuses},
        },
    }
    if one.body is not NoBody:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": references[one.body]}}}
    return made


def _header(name: str, text: str, example: str) -> Schema:
    return {"name": name, "in": "header", "schema": {"type": "string"}, "description": text, "example": example}


def _parameter(one: Operation, name: str, schema: Schema) -> Schema:
    kept = {key: value for key, value in schema.items() if key != "description"}
    required = name in {field.name for field in msgspec.structs.fields(one.query) if field.required}
    made = {"name": name, "in": "query", "required": required, "schema": kept}
    return made | ({"description": schema["description"]} if "description" in schema else {})


def _refused(status: int) -> Schema:
    return {"description": REASONS[status], "content": {JSON: {"schema": {"$ref": REFERENCE.format(name="Problem")}}}}


def _classes(types: Iterable[Any]) -> list[Any]:
    """The attrs classes among these types, and all that their fields name."""
    found: dict[Any, None] = {}
    left = list(types)
    while left:
        one = left.pop()
        left += typing.get_args(one)
        if attrs.has(one) and one not in found:
            found[one] = None
            left += typing.get_type_hints(one).values()
    return list(found)


def _mark_times(kind: Any, schema: Schema) -> None:
    """Say that times are such: their class alone does not tell that they have an offset. The format `duration` knows no fractions."""
    for name, hint in typing.get_type_hints(kind).items():
        if timedelta in (hint, *typing.get_args(hint)):
            for one in (schema["properties"][name], *schema["properties"][name].get("anyOf", ())):
                if one.pop("format", None):
                    one["pattern"] = DURATION
        if datetime in (hint, *typing.get_args(hint)):
            for one in (schema["properties"][name], *schema["properties"][name].get("anyOf", ())):
                if one.get("type") == "string":
                    one["format"] = "date-time"
