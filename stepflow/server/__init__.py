"""The server: stores over HTTP, for programs in other processes and languages. Needs `pip install "stepflow[server]"`."""

from __future__ import annotations

try:
    from stepflow.server.app import app as app
    from stepflow.server.flow_host import flow_host as flow_host
except ModuleNotFoundError as error:
    if (error.name or "stepflow").partition(".")[0] in ("starlette", "google"):
        raise ImportError(f'stepflow.server needs more packages ({error}): pip install "stepflow[server]"') from error
    raise
from stepflow.server.tokens import digest as digest
from stepflow.server.tokens import new_secret as new_secret
from stepflow.server.tokens import read_tokens as read_tokens
