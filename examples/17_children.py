"""Children: a workflow starts runs of other flows, a chain and workflows, waits for all of them, and cancels those that it leaves behind"""

from attrs import define

from stepflow import Context, Engine, Failed, Ok, named, workflow
from stepflow.testing import VirtualClock


@define
class Payment:
    cents: int
    receipt: str = ""


def charge(payment: Payment) -> None:
    payment.receipt = f"receipt for {payment.cents} cents"


pay = named("pay.v1", Payment).do("charge", charge).compile()


@workflow("pick/v1")
def pick(wf: Context, item: str) -> int:
    wf.sleep("walk", 60)
    if item == "lamp":
        raise LookupError("no lamp is left")
    return len(item)


@workflow("watch/v1")
def watch(wf: Context) -> None:
    wf.wait_for_event("stop", "stop", bool)


@workflow("order/v1")
def order(wf: Context, items: list[str]) -> list[str]:
    wf.start_child("watch", watch)  # nothing waits for it: it is cancelled when the order ends
    payment = wf.start_child("payment", pay, Payment(1999))
    picks = wf.start_children("pick", pick, items, labels={"kind": "pick"})
    found = [wf.result("paid", payment).receipt]
    for item, end in zip(items, wf.results("picked", picks), strict=True):
        match end:
            case Ok(grams):
                found.append(f"{item}: {grams} g")
            case Failed(error):
                found.append(f"{item}: {error}")
    return found


with Engine("sqlite:///children.db", clock=VirtualClock()) as engine:
    engine.register(order, pay, pick, watch)
    run = engine.start(order, ["chair", "lamp"], id="order-1")
    engine.run_until_idle()
    print(run.explain().splitlines()[1])
    engine.run_until_idle(advance=True)
    print("\n".join(run.result()))
    for child in engine.runs(parent="order-1"):
        print(child.id, child.status)
