"""tx=: a start by an engine with a new key knows the run that an engine with the old one started meanwhile."""

from __future__ import annotations

import logging
from contextlib import closing

import pytest
from attrs import frozen

from stepflow import Context, Engine, Fernet, RunExists, workflow
from tests.postgres.banks import Bank

OLD, NEW = Fernet.generate_key(), Fernet.generate_key()


@frozen
class Order:
    cents: int


@workflow("pay")
def pay(wf: Context, order: Order) -> int:
    return order.cents


def test_the_same_start_under_a_new_key_is_no_conflict(bank: Bank, caplog: pytest.LogCaptureFixture) -> None:
    with (
        Engine(bank.driver, payload=[Fernet([OLD])]) as old,
        Engine(bank.driver, payload=[Fernet([NEW, OLD])]) as new,
        closing(bank.connect()) as business,
    ):
        for run_id in ("same", "other"):
            old.start(pay, Order(5), id=run_id, tx=business)
        new.start(pay, Order(5), id="same", tx=business)
        with pytest.raises(RunExists, match="another input"):
            new.start(pay, Order(6), id="other", tx=business)
        with caplog.at_level(logging.ERROR):
            business.commit()
            new.register(pay)
            new.run_until_idle()
        assert [new.get(run_id).result() for run_id in ("same", "other")] == [5, 5]
        found = [record for record in caplog.records if getattr(record, "event", "") == "conflict"]
        assert found == []
        assert new.start(pay, Order(5), id="same", tx=business).id == "same"
