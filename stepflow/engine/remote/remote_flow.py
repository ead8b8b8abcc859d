"""remote_flow: names a flow function of another process, to start runs of it."""

from __future__ import annotations

from typing import Any

from stepflow.errors import DefinitionError, UnknownFlow
from stepflow.model.flow import FlowOptions
from stepflow.model.function import FlowFunction


class NamedFunction(FlowFunction):
    """A flow function of which this process has only the name."""

    def __init__(self, name: str) -> None:
        super().__init__(name, self._refuse, FlowOptions())

    def refuse_types(self) -> None:
        """Refuse to be registered: there is nothing to call."""
        raise DefinitionError(
            f"remote_flow({self.name!r}) names a flow of another process: do not register it, Engine(remote=) finds its hosts"
        )

    def _refuse(self, ctx: Any) -> Any:
        raise UnknownFlow(
            f"flow {self.name!r} was named by remote_flow: only its hosts have its function; State {ctx!r:.80}"
        )


def remote_flow(name: str) -> FlowFunction:
    """The flow function of this name, for `engine.start(remote_flow("mail.send"), id=...)` in a process that does not have it."""
    if not isinstance(name, str) or not name:
        raise DefinitionError(f"remote_flow({name!r:.80}): give the name of the flow, a non-empty text")
    return NamedFunction(name)
