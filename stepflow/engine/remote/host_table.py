"""HostTable: which hosts serve which flow, which of them answered lately, and which one is called next."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import define

from stepflow.engine.clock import Clock
from stepflow.model.flow import FlowOptions
from stepflow.model.host import FlowHost

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0  # of a host that failed; doubled with each failure in a row


@define(eq=False)
class KnownHost:
    """A host with its calls that are under way here, when it was called last (a count), and how often it failed in a row.

    After a failure it is not called before `until`, monotonic seconds.
    """

    host: FlowHost
    calls: int = 0
    used: int = 0
    failures: int = 0
    until: float = 0.0


class HostTable:
    """The hosts that are registered and may be called; by their URLs and whether they sign."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._begun_calls = clock, 0
        self._known: dict[tuple[str, bool], KnownHost] = {}

    def update(self, hosts: Sequence[FlowHost]) -> None:
        """These are registered now. A host that registered anew has failed never; of two registrations of one URL the first counts."""
        known: dict[tuple[str, bool], KnownHost] = {}
        for host in hosts:
            key = host.url, host.signs
            before = self._known.get(key)
            if key in known:
                if not host.signs:  # of flowstate: it has one registration for each flow
                    known[key].host = _joined(known[key].host, host)
            elif before is None or before.host.id != host.id:
                known[key] = KnownHost(host)
            else:
                before.host = host
                known[key] = before
        self._known = known

    def flows(self) -> dict[str, FlowOptions]:
        """The flows that are served somewhere; with the options of the host that registered last."""
        found: dict[str, FlowOptions] = {}
        for one in self._known.values():
            for name, options in one.host.flows.items():
                found.setdefault(name, options)
        return found

    def available(self, flow: str) -> bool:
        """Whether a host of this flow can be called now."""
        return self.choose(flow) is not None

    def choose(self, flow: str, tried: Collection[str] = ()) -> KnownHost | None:
        """The host with the fewest calls under way; of several the one that was called longest ago. None if no other one is left."""
        now = self._clock.monotonic()
        able = [
            one
            for one in self._known.values()
            if flow in one.host.flows and one.until <= now and one.host.url not in tried
        ]
        return min(able, key=lambda one: (one.calls, one.used), default=None)

    def begun(self, one: KnownHost) -> None:
        """A call goes to it."""
        self._begun_calls += 1
        one.calls += 1
        one.used = self._begun_calls

    def ended(self, one: KnownHost) -> None:
        """The call is over, however it ended."""
        one.calls -= 1

    def answered(self, one: KnownHost) -> None:
        """The host works."""
        one.failures = 0

    def failed(self, one: KnownHost) -> float:
        """The host did not answer as it should: the seconds for which it is left alone; 0 if that was known, from another call."""
        if one.until > self._clock.monotonic():
            return 0.0
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(one.failures, 16), LONGEST_PAUSE_S)
        one.failures += 1
        one.until = self._clock.monotonic() + pause_s
        return pause_s


def _joined(one: FlowHost, other: FlowHost) -> FlowHost:
    return FlowHost(one.id, one.url, {**other.flows, **one.flows}, one.signs)
