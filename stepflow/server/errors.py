"""Errors as HTTP answers: a status, a code, a message and a remedy; flowstate.v1 alone has a form of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from attrs import frozen
from starlette.responses import Response

from stepflow.errors import (
    Full,
    LostClaim,
    NotFound,
    OutcomeUnknown,
    ReadOnly,
    RevMismatch,
    SchemaMismatch,
    StepflowError,
    StoreError,
    StoreReplaced,
    TooLarge,
    Unavailable,
)
from stepflow.wire.flowstate_json import BadMessage

log = logging.getLogger("stepflow.server")

Code = Literal[
    "aborted", "already_exists", "cancelled", "deadline_exceeded", "failed_precondition",
    "invalid_argument", "not_found", "permission_denied", "resource_exhausted", "session_gone",
    "unauthenticated", "unavailable", "unimplemented", "unknown",
]  # fmt: skip
REMEDIES: Mapping[Code, str] = MappingProxyType(
    {
        "aborted": "read it again, and repeat the call if that is still what you want",
        "already_exists": "read the run that has this id, or give another id",
        "cancelled": "repeat the call, and keep the connection open until its answer",
        "deadline_exceeded": "repeat the call, with a smaller body or over a faster connection",
        "failed_precondition": "do what the message says; the same call alone would be refused again",
        "invalid_argument": "correct the request at the place that the message names: GET /api/v1/openapi.json describes each call",
        "not_found": "check the name, the id and the namespace; GET /api/v1/openapi.json has the paths of all calls",
        "permission_denied": "use a token, a host and an origin that are allowed this: `stepflow token`, `stepflow serve --help`",
        "resource_exhausted": "send less, or later if the answer has the header retry-after; make room if the store is full",
        "session_gone": "open another session",
        "unauthenticated": "send a token that `stepflow token` made in the header Authorization: Bearer TOKEN",
        "unavailable": "repeat the call after a while; GET /readyz tells when the store can be used again",
        "unimplemented": "use a method that the header allow names",
        "unknown": "read the log of the server, which has more; read again what the call may have changed before you repeat it",
    }
)
"""By code: what a caller does next."""
STATUSES: Mapping[str, tuple[int, Code]] = MappingProxyType(
    {
        "aborted": (409, "aborted"),
        "already_exists": (409, "already_exists"),
        "failed_precondition": (409, "failed_precondition"),
        "invalid_argument": (400, "invalid_argument"),
        "not_found": (404, "not_found"),
        "permission_denied": (403, "permission_denied"),
        "resource_exhausted": (429, "resource_exhausted"),
        "unauthenticated": (401, "unauthenticated"),
    }
)
"""By the code with which a server refused what its client asked for, which did nothing: the same refusal."""


@frozen
class Refusal(Exception):
    """A request is answered with this."""

    status: int
    code: Code
    message: str

    @property
    def problem(self) -> dict[str, str]:
        """The body of the answer."""
        return {"code": self.code, "message": self.message, "remedy": REMEDIES[self.code]}

    def answer(self, headers: Mapping[str, str] | None = None) -> Response:
        """The answer. It is ASCII: a message may quote half of a character pair, which has no UTF-8."""
        return Response(json.dumps(self.problem), self.status, headers, "application/json")


def refusal_of(error: Exception) -> Refusal:
    """What a caller is told of an error; one that is no fault of the caller is logged with its traceback."""
    match error:
        case Refusal():
            return error
        case NotFound():
            return Refusal(404, "not_found", str(error))
        case RevMismatch():
            return Refusal(409, "aborted", str(error))
        case LostClaim():
            return Refusal(409, "aborted", str(error))
        case TooLarge():
            return Refusal(413, "resource_exhausted", str(error))
        case Unavailable() | OutcomeUnknown():
            log.warning("the store cannot be used: %s", error)
            return Refusal(503, "unavailable", str(error))
        case StoreError() if error.code in STATUSES:
            return Refusal(*STATUSES[error.code], str(error))
        case Full():
            log.error("the store is full: %s", error)
            return Refusal(507, "resource_exhausted", str(error))
        case ReadOnly() | SchemaMismatch() | StoreReplaced():
            log.error("the store cannot be used as it is: %s", error)
            return Refusal(503, "failed_precondition", str(error))
        case StoreError():
            log.error("the store failed", exc_info=error)
            return Refusal(500, "unknown", str(error))
        case StepflowError() | BadMessage():
            return Refusal(400, "invalid_argument", str(error))
        case _:
            log.error("a request failed", exc_info=error)
            return Refusal(500, "unknown", f"{type(error).__name__}: the log of the server has more")
