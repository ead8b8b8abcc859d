"""The routes of the operator's API: one for each operation, and that of its OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stepflow.model.flow import Flow
from stepflow.server.operator_api.api import NOTHING, OPERATIONS, OperatorApi, told
from stepflow.server.operator_api.openapi import BASE, document
from stepflow.server.operator_api.operation import NoBody, Operation
from stepflow.server.operator_api.request import JSON, query_of, read_body
from stepflow.wire.json_form import to_json_value


def routes(api: OperatorApi, flows: Sequence[Flow[Any, Any]]) -> list[Route]:
    """A route for each operation, below `/api/v1`; the document has the inputs of these flows."""

    async def describe(_request: Request) -> Response:
        return Response(described(tuple(flows)), media_type=JSON)

    made = [
        Route(BASE + one.path, _answering(api, one), methods=[one.method], include_in_schema=False)
        for one in OPERATIONS
    ]
    return [*made, Route(f"{BASE}/openapi.json", describe, methods=["GET"])]


@lru_cache(maxsize=8)
def described(flows: tuple[Flow[Any, Any], ...]) -> bytes:
    """The document for these flows: made once in a process, and only if it is asked for, as that takes longer than an application without it."""
    return json.dumps(document(OPERATIONS, flows)).encode()


def _answering(api: OperatorApi, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            query = query_of(request, operation.query)
            body = NOTHING if operation.body is NoBody else await read_body(request, operation.body)
            found: Any = to_json_value(await api.perform(operation, request, query, body))
        except Exception as error:  # noqa: BLE001 - every error has an answer
            return told(error).answer()
        return Response(json.dumps(found), media_type=JSON)

    return answer
