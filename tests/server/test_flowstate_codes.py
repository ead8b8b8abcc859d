"""The statuses and codes of flowstate.v1 that differ from those of its origin on purpose: the guide lists what the server answers."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from attrs import frozen

from stepflow.drivers.memory.driver import MemoryDriver
from stepflow.errors import Full, ReadOnly, SchemaMismatch, StepflowError, StoreError, StoreReplaced, Unavailable
from stepflow.server.errors import refusal_of
from stepflow.server.tokens import Token, TokenTable, digest
from tests.house.pages import ROOT
from tests.server.conftest import calling

PAGE = (ROOT / "docs" / "howto" / "server.md").read_text()
ROWS = {
    row: (int(status), code)
    for row, status, code in re.findall(r"^\| ([a-z].*?) \| [^|]*\| (\d+) `(\w+)` \|", PAGE, re.MULTILINE)
}
"""Request -> what the guide says that it is answered with."""
A = {"current": {"id": "a"}}
FIRST = {"idx": "0"}


def commit(*commands: Any, ctxs: Any = (A,)) -> dict[str, Any]:
    return {"stateCtxs": list(ctxs), "commit": {"commands": list(commands)}}


@frozen
class Request:
    """A request, and the server that it is for: its options, the error of its store. Without a body it is a good commit."""

    body: Any = None
    path: str = "Driver/Commit"
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    options: Any = None
    error: StepflowError | None = None
    times: int = 1


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


DATA = {"current": {"id": "a", "annotations": {"flowstate.data.d": "7"}}}
TOKENS = {"tokens": TokenTable([Token("reader", digest("right"), "read", frozenset())])}
REQUESTS = {
    "a commit with a command that none can contain": Request(commit({"execute": {"stateRef": FIRST}})),
    "a commit of a State without an id": Request(commit({"park": {"stateRef": FIRST}}, ctxs=({},))),
    "a reference to a State that is not listed, or none": Request(commit({"park": {"stateRef": {"idx": "5"}}})),
    "data of a revision that is not there": Request(
        {"stateCtxs": [DATA], "getData": {"stateRef": FIRST, "alias": "d"}}, "Driver/GetData"
    ),
    "a State that is committed twice in one commit": Request(commit(*[{"park": {"stateRef": FIRST}}] * 2)),
    "an `Execute` of a State without an id": Request({"current": {"transition": {"to": "f"}}}, "Flow/Execute"),
    "a path that is none": Request(path="Driver/Comit"),
    "a method but POST": Request(method="PUT"),
    "a body of more than 64 MB": Request({"x": "x" * 1000}),
    "a body that does not come within 20 s": Request(),
    "no valid token": Request(options=TOKENS),
    "a token, host or site that may not do that": Request(headers=bearer("right"), options=TOKENS),
    "too many wrong tokens": Request(headers=bearer("wrong"), options=TOKENS, times=12),
    "a store that cannot be reached": Request(error=Unavailable("no route to the host")),
    "a store that is read-only": Request(error=ReadOnly("shop.db was opened with ?mode=ro")),
    "a store that was removed or replaced": Request(error=StoreReplaced("shop.db was removed while it was open")),
    "a store whose disk is full": Request(error=Full("database or disk is full")),
}


class Broken(MemoryDriver):
    """A store that cannot be opened."""

    def __init__(self, error: StepflowError) -> None:
        super().__init__()
        self._error = error

    def connect(self, *_args: Any, **_options: Any) -> Any:
        raise self._error


def test_the_guide_has_these_requests():
    assert ROWS.keys() == REQUESTS.keys()


@pytest.mark.anyio
@pytest.mark.parametrize("row", REQUESTS)
async def test_the_answer_is_that_of_the_guide(row, monkeypatch):
    request = REQUESTS[row]
    monkeypatch.setattr("stepflow.server.body.MAX_BODY", 1000)
    if "20 s" in row:
        monkeypatch.setattr("stepflow.server.body.LIMIT_S", 0)
        monkeypatch.setattr("starlette.requests.Request.stream", never)
    driver = MemoryDriver() if request.error is None else Broken(request.error)
    async with calling(driver, **(request.options or {})) as caller:
        for _ in range(request.times):
            answer = await caller.client.request(
                request.method,
                f"/flowstate.v1.{request.path}",
                json=request.body or commit({"park": {"stateRef": FIRST}}),
                headers=[("content-type", "application/json"), *request.headers],
            )
    assert (answer.status_code, answer.json()["code"]) == ROWS[row]
    assert answer.json()["message"]


async def never(_request: Any) -> Any:
    await asyncio.Event().wait()
    yield b""


@pytest.mark.parametrize(
    "kind", [one for one in StoreError.__subclasses__() if one.__module__ == StoreError.__module__]
)
def test_only_errors_that_need_a_look_at_the_log_have_no_code(kind, caplog):
    """A store that is damaged or went back lost something: nothing that a caller does helps."""
    error = kind(7) if kind.__init__ is not StoreError.__init__ else kind("it is so")
    refusal = refusal_of(error)
    assert (refusal.code == "unknown") == (kind.__name__ in {"Corrupt", "RevisionsLost"})
    assert refusal.status >= 500
    assert refusal.message == str(error)
    assert caplog.records  # a fault of the server is in its log
    assert refusal_of(SchemaMismatch("version 9")).code == "failed_precondition"
