"""Calls of flow functions that hosts serve. Needs `pip install "stepflow[remote]"`."""

from __future__ import annotations

from stepflow.engine.remote.remote_flow import remote_flow as remote_flow
from stepflow.remote.remote_hosts import RemoteHosts as RemoteHosts
