"""A chain and flow functions that make a call of `once` at most once; it waits at the gate."""

from __future__ import annotations

from stepflow import Command, StateCtx, commit, current, flow, park
from tests.processes.flows import Count, agated_call, chain, gated_call


def pays(exchange: Count) -> None:
    exchange.n = current().once("pay", gated_call, 40, at_most_once=True) + 1


async def apays(exchange: Count) -> None:
    exchange.n = await current().aonce("pay", agated_call, 40, at_most_once=True) + 1


pays_in_step = chain("pays_in_step", pays, 1).compile()
apays_in_step = chain("apays_in_step", apays, 1).compile()


@flow("pays_in_function")
def pays_in_function(ctx: StateCtx) -> Command:
    return commit(park(ctx, sum=str(current().once("pay", gated_call, 40, at_most_once=True) + 1)))


@flow("apays_in_function")
async def apays_in_function(ctx: StateCtx) -> Command:
    return commit(park(ctx, sum=str(await current().aonce("pay", agated_call, 40, at_most_once=True) + 1)))
