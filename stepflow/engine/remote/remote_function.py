"""RemoteFunction: a flow function whose body is a call of a host; balancing and failover between its hosts."""

from __future__ import annotations

import logging

from stepflow.engine.clock import Clock
from stepflow.engine.remote.caller import FlowCaller, NotCalled
from stepflow.engine.remote.host_table import HostTable
from stepflow.engine.states.function_runner import NoHost
from stepflow.errors import CallLost
from stepflow.model import commands as c
from stepflow.model.ctx import StateCtx
from stepflow.model.flow import FlowOptions
from stepflow.model.function import FlowFunction

log = logging.getLogger("stepflow")


class RemoteFunction(FlowFunction):
    """A flow that hosts serve. It is advanced like one that is registered here: under the claim of this engine, which commits the command."""

    def __init__(self, name: str, options: FlowOptions, table: HostTable, caller: FlowCaller, clock: Clock) -> None:
        super().__init__(name, self._call, options)
        self._table, self._caller, self._clock = table, caller, clock

    def __repr__(self) -> str:
        return f"<RemoteFunction {self.name}>"

    @property
    def available(self) -> bool:
        """Whether a host can be called now: else its runs are left to other workers."""
        return self._table.available(self.name)

    async def _call(self, ctx: StateCtx) -> c.Command:
        """Call one host after another until one takes the State. A call that a host may have executed is not repeated here: it was an attempt."""
        refusals, pauses = dict[str, NotCalled](), dict[str, float]()
        while (one := self._table.choose(self.name, refusals)) is not None:
            self._table.begun(one)
            try:
                command = await self._caller.call(one.host, ctx, self.options.hung_after_s, self._clock.now())
            except NotCalled as refusal:
                refusals[one.host.url] = refusal
                pauses[one.host.url] = self._table.failed(one)
            except CallLost as lost:
                self._log_pause(one.host.url, self._table.failed(one), lost)
                raise
            else:
                self._table.answered(one)
                for url, pause_s in pauses.items():
                    self._log_pause(url, pause_s, refusals[url])
                return command
            finally:
                self._table.ended(one)
        told = "; ".join(f"{url}: {why}" for url, why in refusals.items()) or "none that is registered can be called"
        refused = any(why.refused for why in refusals.values())
        for url, pause_s in (
            () if refused else pauses.items()
        ):  # a run that is blocked has a record in the log, with each answer
            self._log_pause(url, pause_s, refusals[url])
        raise NoHost(f"no host executes flow {self.name!r} now: {told}", refused)

    def _log_pause(self, url: str, pause_s: float, error: Exception) -> None:
        if pause_s:
            log.warning("host %s is not called for %g s: flow %s: %s", url, pause_s, self.name, error)
