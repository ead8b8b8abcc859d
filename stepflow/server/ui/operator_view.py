"""operator_view: what pages ask and do through the operations of the operator's API, which authorize and write the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from stepflow.server.errors import Refusal
from stepflow.server.operator_api.api import BY_NAME
from stepflow.server.operator_api.operation import InNamespace
from stepflow.server.operator_api.request import checked
from stepflow.server.ui.view import View


async def read(view: View, name: str, **query: Any) -> Any:
    """The answer of an operation that reads. Refusal 400 for a query that it does not take."""
    operation = BY_NAME[name]
    asked = checked({"namespace": view.namespace, **query}, operation.query, "query")
    return await view.operator.perform(operation, view.request, asked)


async def change(view: View, name: str, given: Mapping[str, Any], report: Callable[[int], object] | None = None) -> Any:
    """The answer of an operation that changes something. Refusal 400 for a body that it does not take. `report` is told of how many runs so far."""
    operation = BY_NAME[name]
    try:
        body = msgspec.convert(dict(given), operation.body)
    except msgspec.ValidationError as error:
        raise Refusal(400, "invalid_argument", str(error)) from None
    return await view.operator.perform(operation, view.request, InNamespace(namespace=view.namespace), body, report)
