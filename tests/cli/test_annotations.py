"""What the command line shows of the annotations of a State."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider

from stepflow import Engine, OpenTelemetry, StateCtx, StoreData, commit, named, park


def test_show_has_the_annotations_of_a_state(stepflow):
    with Engine("sqlite:///shop.db", instrument=OpenTelemetry(TracerProvider())) as engine:
        ticket = StateCtx("ticket-1", {"desk": "first"}, {"receipt": "sent to ada", "state": "old"})
        ticket.set_data("photo", b"...")
        engine.do(commit(StoreData(ticket, "photo"), park(ticket, state="assigned")))
        engine.start(named("other", dict).do("a", lambda it: None).compile(), {}, id="order-1")
    assert 'notes     {"receipt": "sent to ada", "state": "assigned"}\n' in stepflow("show", "ticket-1")
    assert "notes" not in stepflow("show", "order-1")
    assert stepflow.json("show", "order-1")["info"]["annotations"] == {}
