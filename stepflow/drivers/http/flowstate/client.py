"""Requests of flowstate.v1 to one server: repetitions, and what its refusals mean."""

from __future__ import annotations

import time
from collections.abc import Sequence
from email.utils import mktime_tz, parsedate_tz

import urllib3

from stepflow.drivers.http import client as http
from stepflow.drivers.http.flowstate import messages as m
from stepflow.errors import StoreError, TooLarge, Unavailable
from stepflow.model.ctx import StateCtx

PROTOBUF = "application/proto"
BETWEEN = (502, 503, 504)
"""Statuses of what stands between: whether the server got the request is not known."""


class FlowstateRefusal(StoreError):
    """The server refused a request with `code`, one of those of flowstate.v1."""

    def __init__(self, address: str, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(f"{address} answered {code}: {message}")


class Unanswered(Exception):
    """A request was sent, and no answer came: it may have been carried out, or may yet be."""


class FlowstateClient:
    """Calls the service flowstate.v1.Driver of one server. Thread-safe."""

    def __init__(self, url: str) -> None:
        self._connections = http.Connections(url)
        self.address = self._connections.address
        self.date: int | None = None  # of the last answer by the server's clock, seconds since 1970

    def call(self, method: str, ctxs: Sequence[StateCtx], command: bytes, *, writes: bool = False) -> m.Answer:
        """The answer to a command about these working copies.

        Without an answer a call is sent again for RETRY_S; one that `writes` only as long as it was never sent whole: Unanswered then.
        Raises FlowstateRefusal, Unavailable, and StoreError for what is no flowstate.v1.
        """
        body, left_s = self._bytes(ctxs, command), http.RETRY_S
        while True:
            try:
                answer = self._connections.post(f"/flowstate.v1.Driver/{method}", body, PROTOBUF)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                trouble: Exception = error
                sent, took_s = http.trouble_of(error)
                left_s -= took_s
            else:
                if answer.status not in BETWEEN:
                    return self._read(answer)
                trouble, sent = StoreError(f"{answer.status} {_start(answer.data)}"), True
            text = f"the server at {self.address} does not answer: {http.reason_of(trouble)}"
            if writes and sent:
                raise Unanswered(text)
            if left_s <= 0:
                raise Unavailable(text)
            time.sleep(http.PAUSE_S)
            left_s -= http.PAUSE_S

    def _bytes(self, ctxs: Sequence[StateCtx], command: bytes) -> bytes:
        for ctx in ctxs:
            for alias, data in ctx.datas.items():
                if not data.binary:
                    _check_text(ctx.id, alias, data.blob)
        return m.message(ctxs, command)

    def _read(self, answer: urllib3.BaseHTTPResponse) -> m.Answer:
        date = parsedate_tz(answer.headers.get("date", ""))
        self.date = None if date is None else mktime_tz(date)
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if answer.status == 200 and kind == PROTOBUF:
                return m.answer_of(answer.data)
            if kind == PROTOBUF:
                raise FlowstateRefusal(self.address, *m.error_of(answer.data))
        except (ValueError, IndexError) as error:
            raise StoreError(
                f"{self.address} answered {answer.status} with bytes that are no flowstate.v1 message: {error}"
            ) from error
        if answer.status == 413:
            raise TooLarge(
                f"{self.address}: the request is too large: store large values elsewhere, and their keys here"
            )
        hint = http.HINTS.get(answer.status, "; is it a flowstate server?")
        raise StoreError(f"{self.address} answered {answer.status}: {_start(answer.data)}{hint}")

    def speaks(self) -> bool:
        """Whether the server answers a query of flowstate.v1."""
        try:
            return self.call("GetStates", (), m.get_states(0, 1)).answered
        except Unavailable:
            raise
        except StoreError:
            return False

    def hurry(self, *, ending: bool) -> None:
        """As of the port."""
        self._connections.hurry(ending=ending)

    def close(self) -> None:
        """Close the connections."""
        self._connections.close()


def _check_text(state_id: str, alias: str, blob: bytes) -> None:
    try:
        blob.decode()
    except UnicodeDecodeError:
        raise StoreError(
            f"data {alias!r} of State {state_id!r} is no UTF-8 text: mark it, set_data(..., binary=True)"
        ) from None


def _start(raw: bytes) -> str:
    return f"{raw!r:.200}"
