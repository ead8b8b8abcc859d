"""A chain of steps as a durable run: kill this program at any time and start it again, and the run resumes."""

from attrs import define

from stepflow import Engine, named


@define
class Order:
    number: int
    paid: bool = False


def charge(order: Order) -> None:
    order.paid = True
    print(f"charged order {order.number}")


def ship(order: Order) -> None:
    print(f"shipped order {order.number}, paid: {order.paid}")


order_flow = named("order.v1", Order).do("charge", charge).do("ship", ship).compile()

with Engine("sqlite:///quickstart.db") as engine:
    engine.register(order_flow)
    run = engine.start(order_flow, Order(42), id="order-42")
    engine.run_until_idle()
    print(run.result())
