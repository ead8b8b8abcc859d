"""A workflow: an order that waits for an approval; a plain function whose finished steps are never called again."""

from datetime import timedelta

from attrs import frozen

from stepflow import Context, Engine, RetryPolicy, TimedOut, workflow
from stepflow.testing import VirtualClock


@frozen
class Order:
    number: str
    cents: int


@frozen
class Approval:
    by: str
    granted: bool


def reserve(order: Order) -> str:
    print(f"{order.number}: goods are reserved")
    return f"shelf-{order.number}"


def ship(place: str, approved_by: str) -> str:
    print(f"shipped from {place}, approved by {approved_by}")
    return f"parcel from {place}"


@workflow("approved-order/v1", retry=RetryPolicy(max_attempts=3))
def approved_order(wf: Context, order: Order) -> str:
    place = wf.execute("reserve/v1", reserve, order, retry=RetryPolicy(), timeout=30)
    if order.cents < 10_000:
        return wf.execute("ship/v1", ship, place, "the shop")
    try:
        approval = wf.wait_for_event("approval/v1", "order.approved", Approval, timeout=timedelta(days=2))
    except TimedOut:
        return "not approved in time"
    if not approval.granted:
        return f"{approval.by} said no"
    return wf.execute("ship/v1", ship, place, approval.by)


clock = VirtualClock()
with Engine("sqlite:///approved-orders.db", clock=clock) as engine:
    engine.register(approved_order)
    orders = [Order("a", 500), Order("b", 50_000), Order("c", 60_000), Order("d", 70_000)]
    runs = [engine.start(approved_order, order, id=order.number) for order in orders]
    idle = engine.run_until_idle()
    print(f"{idle.waiting} orders wait; b for {runs[1].info().waiting_for}")
    runs[1].publish("order.approved", Approval("Ada", True), id="mail-17")
    runs[2].publish("order.approved", Approval("Bob", False))
    engine.run_until_idle(advance=True)
    for run in runs:
        print(run.id, run.status(), run.result())
