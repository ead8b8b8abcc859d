"""The page of one stored value of a run: an exchange, a journalled call, or data, as text, tree or bytes; and its download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from attrs import frozen
from starlette.responses import Response

from stepflow.drivers.port.delays import DataQuery
from stepflow.drivers.port.journal import JournalQuery
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.model.codec import SEALED
from stepflow.model.data import BINARY, data_rev
from stepflow.server.errors import Refusal
from stepflow.server.ui.json_tree import hex_dump
from stepflow.server.ui.run import run_id_of, shown
from stepflow.server.ui.view import UiFile, UiPage, View

MOST_CHARACTERS = 20_000  # of a text that is shown
POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"


@frozen
class StoredValue:
    """A value: what it is, its bytes, and whether these are JSON, another text, or neither."""

    title: str
    blob: bytes
    kind: str


async def value_of(view: View) -> StoredValue:
    """The value that the URL names: `rev` of an exchange, `call` of a journal, or the alias `data`. Refusal 404 if it is not there."""
    run_id, rev = run_id_of(view), view.number("rev")
    alias, key = view.request.query_params.get("data", ""), view.request.query_params.get("call", "")
    if alias:
        return await _data(view, run_id, alias)
    if key:
        (rows,) = await view.engine.reader.read(JournalQuery((run_id,), key=key))
        return _text(f"call {key}", rows[0].text if rows else None)
    if rev is None:
        raise Refusal(400, "invalid_argument", "the address names no value: add &rev=, &call= or &data=")
    found = await view.engine.reader.read(HistoryQuery(run_id, limit=1, last=True, until_rev=rev))
    return _text(f"exchange at revision {rev}", found[0].exchange if found and found[0].state.rev == rev else None)


def _text(title: str, text: str | None) -> StoredValue:
    if text is None:
        raise Refusal(404, "not_found", f"{title} is not there, or was deleted")
    return StoredValue(title, text.encode("utf-8", "surrogatepass"), "sealed" if text[:1] == SEALED else "json")


async def _data(view: View, run_id: str, alias: str) -> StoredValue:
    record = await view.engine.client.load(run_id)
    found = await view.engine.reader.read(DataQuery(data_rev(dict(record.state.annotations), alias)))
    if not found:
        raise Refusal(404, "not_found", f"data {alias!r} is not there, or was deleted")
    blob: bytes = found[0].blob
    return StoredValue(f"data {alias}", blob, "bytes" if found[0].annotations.get(BINARY) == "true" else _kind(blob))


def _kind(blob: bytes) -> str:
    try:
        text = blob.decode()
    except UnicodeDecodeError:
        return "bytes"
    if not all(letter.isprintable() or letter in "\n\r\t" for letter in text[:MOST_CHARACTERS]):
        return "bytes"
    return "text" if shown(text).problem else "json"


async def show(view: View) -> Mapping[str, Any]:
    """The value, and its size."""
    value = await value_of(view)
    parts: dict[str, Any] = {"tree": None, "text": "", "problem": ""}
    if value.kind in ("json", "sealed"):
        json = shown(value.blob.decode("utf-8", "surrogatepass"))
        parts |= {"tree": json.tree, "problem": json.problem}
    elif value.kind == "text":
        text = value.blob.decode()
        parts["text"] = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
    else:
        parts["text"] = hex_dump(value.blob)
    given = view.request.query_params
    where = {name: given[name] for name in ("id", "rev", "call", "data") if name in given}
    return {
        "id": where["id"],
        "name": value.title,
        "kind": value.kind,
        "size": len(value.blob),
        "where": where,
        **parts,
    }


async def download(view: View) -> Response:
    """The bytes as a file; a browser saves it and never shows it as a page."""
    value = await value_of(view)
    ending = {"json": ".json", "text": ".txt"}.get(value.kind, ".bin")
    name = quote(f"{run_id_of(view)} {value.title}{ending}".replace("/", "-"), errors="replace")
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}", "content-security-policy": POLICY}
    return Response(value.blob, media_type="application/octet-stream", headers=headers)


PAGE = UiPage("/run/value", "{{ name }} of {{ id }}", "stored_value.html", show)
FILE = UiFile("/run/download", download)
