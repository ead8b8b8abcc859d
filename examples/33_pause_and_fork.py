"""Hold a flow back, try a mended step on a fork of a run that went wrong, then let the run itself go back."""

from attrs import define

from stepflow import Engine, named


@define
class Invoice:
    net: int
    vat: int = 0
    sent: bool = False


RATE = {"percent": 7}  # wrong, as it turns out


def add_vat(invoice: Invoice) -> None:
    invoice.vat = invoice.net * RATE["percent"] // 100


def send(invoice: Invoice) -> None:
    invoice.sent = True


invoice_flow = named("invoice.v1", Invoice).do("vat", add_vat).do("send", send).compile()

with Engine("sqlite:///invoices.db") as engine:
    engine.register(invoice_flow)
    first = engine.start(invoice_flow, Invoice(net=100), id="invoice-1")
    engine.run_until_idle()
    print(first.result())

    engine.pause_flow(invoice_flow)  # for all workers: no invoice goes out meanwhile
    second = engine.start(invoice_flow, Invoice(net=200), id="invoice-2")
    engine.run_until_idle()
    print(second.status(), [one.flow for one in engine.paused_flows()])

    RATE["percent"] = 19
    second.pause()  # this run alone: it waits until the mended step is tried
    engine.resume_flow(invoice_flow)
    trial = first.fork(step="vat", id="invoice-1-trial")
    engine.run_until_idle()
    print(trial.result(), second.status())

    first.rewind(step="vat")
    second.resume()
    engine.run_until_idle()
    print(first.result(), len(first.history()), "revisions")
    print(second.result())
