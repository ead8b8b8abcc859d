"""The files that pages load: style sheet, scripts, icon. They are read once, and named by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response

from stepflow.server.errors import Refusal

FOLDER = Path(__file__).parent / "static"
TYPES: Mapping[str, str] = MappingProxyType(
    {
        "style.css": "text/css",
        "htmx.min.js": "text/javascript",
        "hx-sse.min.js": "text/javascript",
        "ui.js": "text/javascript",
        "icon.svg": "image/svg+xml",
    }
)


@frozen
class Asset:
    """A file: its bytes, and a text that changes with them."""

    content: bytes
    version: str


@cache
def asset(name: str) -> Asset:
    """The file of this name; Refusal 404 if pages load no such file."""
    if name not in TYPES:
        raise Refusal(404, "not_found", f"there is no file {name!r:.80}")
    content = (FOLDER / name).read_bytes()
    return Asset(content, hashlib.sha256(content).hexdigest()[:16])


async def serve(request: Request) -> Response:
    """The file that the path names; a browser may keep it for as long as pages name this version."""
    found = asset(request.path_params["name"])
    kept = "public, max-age=31536000, immutable" if request.query_params.get("v") == found.version else "no-cache"
    return Response(found.content, media_type=TYPES[request.path_params["name"]], headers={"cache-control": kept})
