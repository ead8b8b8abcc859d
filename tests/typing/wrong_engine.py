"""Wrong programs with engines: every line with an ignore is refused, for the reason it names."""

from __future__ import annotations

from dataclasses import dataclass

import stepflow
from stepflow import AsyncEngine, Engine, RetryPolicy, Run, named


@dataclass
class Order:
    n: int = 0


@dataclass
class Other:
    x: int = 0


chain = named("order.v1", Order).do("a", lambda order: print(order.n))
flow = chain.compile()


def sync_program(engine: Engine) -> None:
    engine.register(chain)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.register("order.v1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.start(chain, Order())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start("order.v1", Order())  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start(flow, Other())  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start(flow)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.start(flow, None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start_many(flow, [("a", None)])  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
    engine.schedule("s", flow, cron="@daily")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.start(flow, Order(), id=42)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start(flow, Order(), labels={"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start(flow, Order(), at="tomorrow")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start(flow, Order(), priority="high")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    engine.start(flow, Order(), "order-1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    engine.get(42)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    engine.get("order.v1", "order-1")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    run = engine.start(flow, Order())
    other: Run[Other] = run  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    x: Other = run.result()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    run.result(timeout="1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run.publish(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run.publish("paid", 5, "evt-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    run.resutl()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    run.info().position = []  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    run.info().stauts()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    engine.runs(limit="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.prune(30)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.run_until_idle().done()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    engine.start(flow, Order(), label={"a": "b"})  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    engine.start(flow, Order(), dedupe_key="a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    engine.start_many(flow, [], id="order-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    engine.start_many(flow, [], txn=None)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    engine.runs(page=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    engine.states(limt=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    engine.states({"a": "b"}, since="latest")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    engine.iterate(limit=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    engine.watch(since_rev=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    engine.watch().next(timeout="1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    run.publish("paid", key="evt-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    run.result(time_out=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    run.history(last=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with engine.worker() as worker:
        worker.stop()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    print(other, x)


async def async_program(engine: AsyncEngine) -> None:
    run = await engine.start(flow, Order())
    engine.start(flow, Order())  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    run.status().final()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await engine.start(flow, Order(), dedupe_key="a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await engine.start(flow)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.schedule("s", flow, cron="@daily")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await engine.schedule("s", flow, 5, cron="@daily")  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await engine.schedule("s", flow, Order(), every=60)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await engine.schedule("s", flow, Order(), cron="@daily", overlap="both")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await engine.states(limt=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await run.publish("paid", key="evt-1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with engine.worker():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass


def once(number: int) -> int:
    here = stepflow.current()
    here.once("a", once)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    here.once("b", once, "two", at_most_once=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    here.once("c", once, 1, at_most_once="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    here.once("d", once, number, at_most=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return number


def imports() -> None:
    from stepflow import Enigne  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
    from stepflow.testing.conformance import DriverLawz  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]

    print(Enigne, DriverLawz)  # pyright: ignore[reportUnknownArgumentType]


print(stepflow.Enigne)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]
Engine(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Engine("memory://", clock=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Engine("memory://", 64)  # type: ignore[arg-type, call-arg]  # pyright: ignore[reportCallIssue]
RetryPolicy(delay="1s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
RetryPolicy(on=ValueError())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
RetryPolicy(attempts=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
RetryPolicy(max_attempts=2.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
RetryPolicy().delay = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
