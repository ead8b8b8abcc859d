"""Attempt: what the worker knows of any claim that is being advanced, whatever the authoring style."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from stepflow.drivers.port.commit import Claim, Fence, Record, Release
from stepflow.engine.clock import Clock
from stepflow.model.flow import Flow
from stepflow.model.state import State


@define(eq=False)
class Attempt:
    """The state of one claim. `stop` and `cancel` may be set from other threads; they are seen between two steps."""

    flow: Flow[Any]
    claim: Claim
    record: Record
    clock: Clock
    stop: bool = False
    cancel: bool = False
    retry_commits: bool = False  # a commit that the store refuses for now is tried again and again
    refusals: int = 0  # of commits that are tried again
    hung: bool = False  # it made no commit for too long: its claim is being given back
    ended: str = ""  # the final status, once it is being committed
    moved_at: float = 0.0  # monotonic time of the last commit
    state: State = field(init=False)
    fence: Fence = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.state, self.fence = self.record.state, self.claim.fence
        self.cancel = self.cancel or self.claim.row.cancel
        self.moved_at = self.clock.monotonic()

    @property
    def progressed(self) -> bool:
        """Whether this claim has made a commit: earlier crashes do not count any more."""
        return self.state.rev != self.record.state.rev

    def release(self) -> Release:
        """Gives the claim back although a step has begun; a crash is counted only if it hung."""
        crashes = 0 if self.progressed else self.claim.row.crashes + int(self.hung)
        return Release(self.fence, self.clock.now(), crashes=crashes)
