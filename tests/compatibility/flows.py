"""The flows of the stored runs: the generator advanced them up to some point, the tests advance them to the end.

Only public names, so that an old and a new stepflow can import it. `broken` names the things that fail just now, and
`interrupt(run_id, step)` is called where a process may be killed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from attrs import define, field

from stepflow import RetryPolicy, StateCtx, Steps, Unstack, commit, current, delay, flow, named, park, transit

broken: set[str] = set()
PATIENT = RetryPolicy(max_attempts=5, delay=600, max_delay=3600, jitter=0)


def interrupt(run_id: str, step: str) -> None:
    """Replaced by the process that is to be killed."""


@define
class Address:
    street: str
    zip: int


@define
class Order:
    number: int = 0
    log: list[str] = field(factory=list)
    looks: int = 0
    note: str = ""
    address: Address | None = None
    placed: datetime | None = None


@define
class Signature:
    name: str
    at: datetime


def log(text: str) -> Callable[[Order], None]:
    """A step that notes that it was done."""
    return lambda order: order.log.append(text)


def fragile(text: str, error: type[Exception]) -> Callable[[Order], None]:
    """The same, but it raises while `text` is broken, and always for order 13."""

    def step(order: Order) -> None:
        if text in broken or order.number == 13:
            raise error(f"no {text} for order {order.number}: “Straße”")
        order.log.append(text)

    return step


def interrupted(text: str) -> Callable[[Order], None]:
    """The same, but the process may be killed here."""

    def step(order: Order) -> None:
        interrupt(current().run_id, text)
        order.log.append(text)

    return step


def taken(order: Order, payload: str) -> None:
    order.log.append(payload)


def signed(order: Order, signature: Signature) -> None:
    order.log.append(f"{signature.name} at {signature.at.isoformat()}")


def priced(order: Order, price: int) -> None:
    order.log.append(f"price {price}")


def third_look(order: Order) -> bool:
    order.looks += 1
    return order.looks >= 3


def connect(order: Order) -> None:
    if not order.looks:
        raise ConnectionError("server 0 is down")


def next_server(order: Order, error: Exception) -> bool:
    order.looks += 1
    order.log.append(str(error))
    return True


def count(order: Order) -> None:
    order.looks += 1


order_flow = named("order.v1", Order).do("charge", log("charge")).do("ship", log("ship")).compile()
strict_flow = (
    named("strict.v1", Order)
    .do("first", log("first"))
    .do("check", fragile("address", ValueError))
    .do("last", log("last"))
    .compile()
)
call_flow = named("call.v1", Order).do("call", fragile("call", OSError)).compile(retry=PATIENT)
upload_flow = (
    named("upload.v1", Order)
    .do("open", log("open"))
    .retry(
        "net",
        RetryPolicy(max_attempts=3, delay=600, max_delay=3600, jitter=0, on=ConnectionError),
        Steps().do("login", log("login")).do("upload", fragile("upload", ConnectionError)),
    )
    .do("close", log("close"))
    .compile()
)
server_flow = (
    named("server.v1", Order)
    .retry("servers", next_server, Steps().do("connect", connect).wait_event("ready", "server.ready", str, taken))
    .do("work", log("work"))
    .compile()
)
build_flow = (
    named("build.v1", Order)
    .wait_for("ready", third_look, every=60, timeout=timedelta(days=1))
    .do("install", log("install"))
    .compile()
)
never_flow = named("never.v1", Order).wait_for("sign", lambda: False, every=3600 * 6, timeout=86_400).compile()
approval_flow = (
    named("approval.v1", Order)
    .do("ask", log("ask"))
    .wait_event("approval", "order.approved", str, taken, timeout=timedelta(days=3))
    .do("ship", log("ship"))
    .compile()
)
signature_flow = (
    named("signature.v1", Order)
    .wait_event("first", "signed", Signature, signed)
    .wait_event("second", "signed", Signature, signed)
    .compile()
)
price_flow = (
    named("price.v1", Order)
    .wait_for("opening", third_look, every=60)
    .wait_event("first", "price.set", int, priced)
    .wait_event("newest", "price.set", int, priced, latch=True)
    .compile()
)
loop_flow = (
    named("loop.v1", Order)
    .loop_until(
        "rounds",
        lambda order: order.looks >= 3,
        Steps()
        .do("count", count)
        .case("second", lambda order: order.looks == 2, Steps().wait_event("next", "next", str, taken)),
    )
    .do("end", log("end"))
    .compile()
)
shape_flow = (
    named("shape.v1", Order).do("cut", log("cut")).wait_event("go", "go", str, taken).do("sand", log("sand")).compile()
)
uncut_shape_flow = named("shape.v1", Order).do("sand", log("sand")).compile()  # it does not know where the others wait
killed_flow = (
    named("killed.v1", Order)
    .do("one", interrupted("one"))
    .do("two", interrupted("two"))
    .do("three", interrupted("three"))
    .compile()
)


@flow("offer.v1")
def offer(ctx):
    if ctx.delayed_until:
        return commit(park(ctx, state="expired"))
    return commit(park(ctx, state="sent"), delay(ctx, "offer.v1", timedelta(days=14), why="too late"))


@flow("remind.v1")
def remind(ctx):
    """Called by a delay that was made without commit: the snapshot of its State is not written."""
    reminder = StateCtx(f"reminder of {ctx.id}", {"of": ctx.id})
    return commit(park(reminder, text=ctx.annotation("text"), seen=ctx.labels["kind"]))


@flow("answer.v1")
def answer(ctx):
    caller = StateCtx("")
    return commit(
        Unstack(ctx, caller, "caller"), park(ctx, state="answered"), transit(caller, "resume.v1", answer="yes")
    )


@flow("resume.v1")
def resume(ctx):
    return commit(park(ctx, got=ctx.annotation("answer")))


@flow("mail.v1", retry=PATIENT)
def mail(ctx):
    if "mail" in broken:
        raise ConnectionError(f"no mail for {ctx.id}")
    return commit(park(ctx, state="sent"))


@flow("moved.v1")
def moved(ctx):
    return commit(park(ctx, state="executed", labelled=str(len(ctx.labels))))


@flow("hand.v1")
def hand(ctx):
    """Its process may be killed here; `late` tells whether a delay led here."""
    interrupt(ctx.id, "")
    return commit(park(ctx, state="executed", late=str(ctx.delayed_until is not None)))


KILLED = (killed_flow, hand)
ALL = (
    order_flow, strict_flow, call_flow, upload_flow, server_flow, build_flow, never_flow, approval_flow, signature_flow,
    price_flow, loop_flow, shape_flow, offer, remind, answer, resume, mail, moved, *KILLED,
)  # fmt: skip
