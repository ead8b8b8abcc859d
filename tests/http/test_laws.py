"""A store behind a server keeps every law, but for the caller's transactions, which it refuses."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
from hypothesis import HealthCheck, settings

from stepflow import DefinitionError, named
from stepflow.drivers.http import HttpDriver
from stepflow.drivers.http.codec import ANSWERS, ENCODED
from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.store import Query
from stepflow.drivers.sqlite import SqliteDriver
from stepflow.engine.checks import checked_transactions
from stepflow.testing.conformance import DriverLaws, DriverMachine, LimitsMachine
from tests.http.served import Served


class TestHttp(DriverLaws):
    filters_step = 7

    @pytest.fixture
    def driver(self, tmp_path):
        served = Served(SqliteDriver(tmp_path / "store.db"))
        yield served.driver
        served.close()


def test_a_function_in_a_transaction_is_led_to_the_store_behind_the_server():
    chain = named("order").do("book", lambda exchange, connection: None, transaction=True).compile()
    served = HttpDriver("http://secret@store.example:8080")
    for driver, remedy in (
        (served, "open the store itself, by its own URL, if it is one in"),
        (MemoryDriver(), "use a store in"),
    ):
        with pytest.raises(DefinitionError, match=f"has no transactions for functions: {remedy} SQLite or PostgreSQL$"):
            checked_transactions(chain, driver)


class HttpMachine(DriverMachine):
    def make_driver(self):
        self.served = [*getattr(self, "served", ()), Served(MemoryDriver())]
        return self.served[-1].driver

    def end_driver(self):
        for served in getattr(self, "served", ()):
            served.close()


TestHttpMachine = HttpMachine.TestCase
TestHttpMachine.settings = settings(
    max_examples=4, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


class HttpControl(LimitsMachine):
    make_driver, end_driver = HttpMachine.make_driver, HttpMachine.end_driver


TestHttpControl = HttpControl.TestCase
TestHttpControl.settings = TestHttpMachine.settings


def test_every_value_of_the_port_has_a_form():
    """A class that a query, an answer or a commit names, and that the codec does not list, would be encoded by chance."""
    named = {item for kind in ENCODED for item in _classes_in(kind)}
    assert {item.__name__ for item in named if item.__module__.startswith("stepflow.")} <= {k.__name__ for k in ENCODED}
    assert set(get_args(Query)) == set(ANSWERS)


def _classes_in(kind):
    def parts(hint):
        yield from (item for argument in get_args(hint) for item in parts(argument))
        if isinstance(hint, type):
            yield hint

    for hint in get_type_hints(kind).values():
        yield from parts(hint)
