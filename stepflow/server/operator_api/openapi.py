"""The OpenAPI 3.1 document of the operator's API, made of the operations themselves."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import msgspec

from stepflow.server.errors import REMEDIES
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
    409: "It cannot be done any more, or was moved on meanwhile: read it again.",
    413: "The body, or a value in it, is too large.",
    415: "The body is not sent as JSON.",
    422: "It is understood, and cannot be done; the message tells why, and what to do.",
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
ALWAYS, WITH_BODY = (400, 401, 403, 429, 500, 503, 507), (408, 413, 415)
PROBLEM: Schema = {
    "title": "Problem",
    "type": "object",
    "description": "Why a call was refused: a code for programs, what was wrong, and what to do next.",
    "properties": {"code": {"enum": sorted(REMEDIES)}, "message": {"type": "string"}, "remedy": {"type": "string"}},
    "required": ["code", "message", "remedy"],
}


def document(operations: Sequence[Operation]) -> Schema:
    """The document."""
    bodies = [one.body for one in operations if one.body is not NoBody]
    answers = [one.answer for one in operations]
    kinds = list(dict.fromkeys([*bodies, *answers]))
    found, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    for kind in _classes(answers):
        _mark_times(kind, components[kind.__name__])
    for body in bodies:
        if body.one_of:
            components[body.__name__]["oneOf"] = [{"required": [name]} for name in body.one_of]
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
