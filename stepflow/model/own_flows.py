"""own_flows: the flows of the library itself; their runs are in lists and counts only if these are asked for that flow by its name."""

from __future__ import annotations

from stepflow.model.host import HOST
from stepflow.model.topic import TOPIC

OWN_FLOWS = frozenset({TOPIC, HOST})
