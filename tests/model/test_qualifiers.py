"""Words around the type of a field, such as ReadOnly: the field is stored as what they stand around."""

from __future__ import annotations

import typing
from datetime import date
from typing import Annotated, Any, NotRequired, Required

import pytest
import typing_extensions

from stepflow import CodecError
from stepflow.model.codec import Codec
from stepflow.model.json_schema import json_schema

DAY = date(2020, 1, 1)
READ_ONLY: Any = getattr(typing, "ReadOnly", typing_extensions.ReadOnly)  # of Python from 3.13 on
KINDS = {
    "python": typing.TypedDict,
    "extensions": typing_extensions.TypedDict,
}


@pytest.fixture(params=KINDS)
def order(request: pytest.FixtureRequest) -> Any:
    if request.param == "python" and not hasattr(typing, "ReadOnly"):
        pytest.skip("a typed dict of this Python knows no ReadOnly")
    make: Any = KINDS[request.param]
    return make(
        "Order",
        {
            "made": READ_ONLY[date],
            "paid": READ_ONLY[NotRequired[date]],
            "sent": NotRequired[READ_ONLY[list[date]]],
            "seen": Annotated[READ_ONLY[Required[date]], "a note"],
        },
    )


def test_what_is_stored_comes_back(order):
    codec = Codec(order)
    for value in ({"made": DAY, "seen": DAY}, {"made": DAY, "seen": DAY, "paid": DAY, "sent": [DAY, DAY]}):
        assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize(
    "wrong", [{"made": DAY}, {"made": "2020", "seen": DAY}, {"made": DAY, "seen": DAY, "sent": DAY}]
)
def test_what_is_of_another_type_is_refused(order, wrong):
    with pytest.raises((CodecError, TypeError)):
        Codec(order).encode(wrong)


def test_the_schema_is_that_of_the_types(order):
    found = json_schema(order)["$defs"]["Order"]
    assert found["required"] == ["made", "seen"]
    assert found["properties"]["made"] == {"type": "string", "format": "date"}
