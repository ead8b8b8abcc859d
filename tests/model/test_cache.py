"""Caches hold a bounded number of entries and of bytes, and always give what the function gives."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepflow.drivers.port import stored
from stepflow.drivers.postgres import rows as postgres_rows
from stepflow.model import limits
from stepflow.model.cache import BoundedCache, size_of_texts
from stepflow.model.state import Transition


@given(st.lists(st.text(max_size=40), max_size=60), st.integers(1, 9), st.integers(100, 3_000))
def test_a_cache_gives_what_the_function_gives_and_stays_within_its_bounds(texts, entries, size):
    cache = BoundedCache(str.upper, size_of_texts, entries, size)
    for text in texts:
        assert cache[text] == text.upper()
        assert len(cache) <= entries
        assert sum(size_of_texts(*item) for item in cache.items()) <= size


def test_an_argument_is_computed_once_while_it_is_kept():
    calls = []
    cache = BoundedCache(lambda key: calls.append(key) or key, size_of_texts, max_entries=2)
    for key in ("a", "a", "b", "a", "b", "c", "c"):
        cache[key]
    assert calls == ["a", "b", "c"]


def test_an_entry_that_is_too_large_is_not_kept_and_drops_no_other():
    cache = BoundedCache(str.upper, size_of_texts, max_bytes=100_000)
    assert cache["a"] == "A"
    assert cache["b" * 50_000] == "B" * 50_000
    assert list(cache) == ["a"]


def annotations(number: int) -> Mapping[str, str]:
    return {"stack": f"{number:06d}" + "x" * 100_000}


CACHES: dict[str, Callable[[int], object]] = {
    "maps": lambda n: stored.map_text(annotations(n)),
    "transitions": lambda n: stored.read_transition(Transition("x", annotations(n)).text),
    "postgres labels": lambda n: postgres_rows.label_key("stack", annotations(n)["stack"]),
    "limits": lambda n: limits.parse(limits.dump(limits.Limit(f"{n}/{m}" + "k" * 180, 1) for m in range(400))),
}


@pytest.mark.parametrize("call", CACHES.values(), ids=CACHES.keys())
def test_no_cache_holds_more_than_a_few_megabytes(call):
    call(0)
    tracemalloc.start()
    try:
        for number in range(300):
            call(number)
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 20_000_000
