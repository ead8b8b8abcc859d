"""The law of the codec: what is stored comes back equal and with equal types, or it is refused before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from stepflow.errors import CodecError
from stepflow.model.codec import Codec
from tests.model.enum_types import Typed
from tests.model.type_trees import REFUSED, typed

anything = settings(suppress_health_check=list(HealthCheck), deadline=None)


def assert_same(one: Any, other: Any) -> None:
    """Equal, with equal classes at every place; written without the code of the codec."""
    assert type(one) is type(other), (one, other)
    if isinstance(one, Mapping):
        assert list(one) == list(other)
        for (key, value), (key2, value2) in zip(one.items(), other.items(), strict=True):
            assert_same(key, key2)
            assert_same(value, value2)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        assert getattr(one, "__dict__", None) == getattr(other, "__dict__", None)
        for value, value2 in zip(one, other, strict=True):
            assert_same(value, value2)
    elif attrs.has(type(one)) or hasattr(one, "__dataclass_fields__"):
        names = [f.name for f in attrs.fields(type(one))] if attrs.has(type(one)) else list(one.__dataclass_fields__)
        for name in names:
            assert_same(getattr(one, name), getattr(other, name))
    else:
        assert one == other
        for name in ("tzinfo", "fold", "maxlen", "default_factory"):
            assert getattr(one, name, None) == getattr(other, name, None)
        assert type(getattr(one, "tzinfo", None)) is type(getattr(other, "tzinfo", None))


@anything
@given(typed(), st.data())
def test_a_value_of_the_type_comes_back(one: Typed, data: st.DataObject):
    type_, right, _near = one
    try:
        codec: Codec[Any] = Codec(type_)
    except CodecError:
        event("type refused")
        return
    value = data.draw(right)
    text = codec.encode(value)
    back = codec.decode(text)
    assert_same(value, back)
    assert_same(back, codec.restored(value, text))
    assert codec.digest(value) == codec.digest(back)


@anything
@given(typed() | st.sampled_from(REFUSED), st.data())
def test_a_value_that_is_almost_of_the_type_comes_back_or_is_refused(one: Typed, data: st.DataObject):
    type_, _right, near = one
    try:
        codec: Codec[Any] = Codec(type_)
    except CodecError:
        event("type refused")
        return
    value = data.draw(near)
    try:
        text = codec.encode(value)
    except CodecError:
        event("value refused")
        return
    event("came back")
    assert_same(value, codec.decode(text))


@attrs.frozen
class _Label:
    text: str
    _number: int | None = None


def test_what_is_restored_without_the_text_is_another_object():
    codec = Codec(_Label)
    value = _Label("a", 3)
    again = codec.restored(value, codec.encode(value))
    assert again == value
    assert again is not value


@dataclass(init=False)
class WithoutConstructor:
    a: int = 1


def test_what_cannot_be_made_again_is_refused_when_it_is_stored() -> None:
    with pytest.raises(CodecError, match="can be stored but not restored"):
        Codec(WithoutConstructor).encode(WithoutConstructor())
