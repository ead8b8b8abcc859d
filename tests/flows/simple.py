"""Flow functions that several tests share."""

from __future__ import annotations

from stepflow import Noop, commit, flow, park


def parking(calls):
    @flow("aFlow")
    def a_flow(ctx):
        calls[ctx.id] += 1
        return commit(park(ctx))

    return a_flow


def idling(calls, **options):
    @flow("aFlow", **options)
    def a_flow(ctx):
        calls[ctx.id] += 1
        return Noop()

    return a_flow
