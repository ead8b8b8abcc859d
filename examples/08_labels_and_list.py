"""Find runs by flow, status and labels; count them, read their history, cancel one, redrive all that failed."""

from attrs import define

from stepflow import Engine, RunFilter, named


@define
class Invoice:
    number: int
    paid: bool = False


def check(invoice: Invoice) -> None:
    if invoice.number == 3:
        raise ValueError("no such customer")


def pay(invoice: Invoice, by: str) -> None:
    invoice.paid = True


invoice_flow = (
    named("invoice.v1", Invoice)
    .do("check", check)
    .wait_event("payment", "paid", str, pay)
    .do("file", lambda: None)
    .compile()
)

with Engine("sqlite:///invoices.db") as engine:
    engine.register(invoice_flow)
    for number in range(1, 6):
        tenant = "acme" if number % 2 else "globex"
        engine.start(invoice_flow, Invoice(number), id=f"invoice-{number}", labels={"tenant": tenant})
    engine.run_until_idle()
    engine.get("invoice-1").publish("paid", "bank transfer")
    engine.get("invoice-2").cancel()
    engine.run_until_idle()
    print("all:   ", engine.tally())
    print("acme:  ", sorted(run.id for run in engine.runs(labels={"tenant": "acme"})))
    print("failed:", [(run.id, run.error and run.error.message) for run in engine.runs(status="failed")])
    print("by id: ", [run.id for run in engine.runs(RunFilter(id_prefix="invoice-"), order="id", ascending=True)])
    print("dry:   ", engine.redrive(RunFilter(error_type="ValueError")))
    print("history of invoice-1:")
    for entry in engine.get("invoice-1").history():
        print("  ", entry.position, entry.exchange, entry.status)
