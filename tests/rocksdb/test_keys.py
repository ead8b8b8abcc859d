"""Keys sort as what they are made of; walks and scans find exactly what is there."""

from __future__ import annotations

import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stepflow.drivers.rocksdb.disk import Disk
from stepflow.drivers.rocksdb.index_scan import common, union
from stepflow.drivers.rocksdb.keys import after, number, read_number, read_text, text

TEXTS = st.text(st.characters(codec=None), max_size=6) | st.text("\x00\x01ab\uffff\U0010ffff\ud800", max_size=6)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
small = st.binary(max_size=2).map(lambda rest: b"k" + rest)


@given(TEXTS, TEXTS)
@example("a", "a\0")
@example("a\0b", "a\1")
def test_texts_sort_by_code_points(one: str, two: str) -> None:
    assert (text(one) < text(two)) == (one < two)
    assert (text(one) == text(two)) == (one == two)


@given(st.lists(st.tuples(TEXTS, NUMBERS, TEXTS), max_size=8))
def test_keys_of_several_parts_sort_part_by_part(parts: list[tuple[str, int, str]]) -> None:
    keys = [text(a) + number(n) + text(b) for a, n, b in parts]
    assert sorted(parts) == [part for _key, part in sorted(zip(keys, parts, strict=True))]


@given(TEXTS, NUMBERS, TEXTS)
def test_parts_are_read_back(first: str, middle: int, last: str) -> None:
    key = b"x" + text(first) + number(middle) + text(last)
    found, at = read_text(key, 1)
    assert (found, read_number(key, at), read_text(key, at + 8)) == (first, middle, (last, len(key)))


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_numbers_of_more_than_64_bits_are_refused(value: int) -> None:
    with pytest.raises(OverflowError):
        number(value)


@given(st.binary(min_size=1, max_size=4).filter(lambda p: p.strip(b"\xff")), st.binary(max_size=3))
def test_after_lies_behind_all_keys_with_the_prefix(prefix: bytes, rest: bytes) -> None:
    assert prefix + rest < after(prefix)
    assert not after(prefix).startswith(prefix)


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    folder = Path(tempfile.mkdtemp())
    disk = Disk(folder / "store")
    yield disk
    disk.close()
    shutil.rmtree(folder)


def _fill(disk: Disk, keys: set[bytes]) -> None:
    old = {key for key, _value in disk.scan(b"", b"\xff")}
    disk.write({**dict.fromkeys(old), **dict.fromkeys(keys, b"v")})


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(st.sets(small, max_size=12), small, small)
def test_scans_hold_their_bounds(disk: Disk, keys: set[bytes], low: bytes, high: bytes) -> None:
    _fill(disk, keys)
    low, high = min(low, high), max(low, high)
    want = sorted(key for key in keys if low <= key < high)
    assert [key for key, _value in disk.scan(low, high)] == want
    assert [key for key, _value in disk.scan_back(high, low)] == want[::-1]


def test_a_bound_outlives_the_bytes_that_it_was_made_of(disk: Disk) -> None:
    _fill(disk, {b"k%02d" % n for n in range(20)})
    for turn in range(200):
        rows = disk.scan(b"k%02d" % 3, b"k%02d" % (5 + turn % 3))
        gc.collect(0)
        junk = [b"q%02d" % n for n in range(50)]
        assert len(list(rows)) == 2 + turn % 3 < len(junk)


def test_a_scan_shows_what_was_there_when_it_began(disk: Disk) -> None:
    _fill(disk, {b"ka", b"kc"})
    up, down, cursor = disk.scan(b"ka", b"kz"), disk.scan_back(b"kz", b"ka"), disk.cursor(b"k", back=False)
    _fill(disk, {b"kb"})
    assert [key for key, _value in up] == [b"ka", b"kc"]
    assert [key for key, _value in down] == [b"kc", b"ka"]
    assert list(common([cursor], b"a")) == [b"a", b"c"]


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
@given(st.lists(st.sets(small, max_size=8), min_size=1, max_size=3), small, st.booleans())
def test_common_is_the_intersection_and_union_the_union(
    disk: Disk, sets: list[set[bytes]], start: bytes, back: bool
) -> None:
    _fill(disk, {b"%d/" % n + key for n, found in enumerate(sets) for key in found})

    def wanted(found: set[bytes]) -> list[bytes]:
        return sorted((key for key in found if (key <= start if back else key >= start)), reverse=back)

    cursors = [disk.cursor(b"%d/" % n, back=back) for n in range(len(sets))]
    assert list(common(cursors, start)) == wanted(set.intersection(*sets))
    walks = [common([disk.cursor(b"%d/" % n, back=back)], start) for n in range(len(sets))]
    assert list(union(walks, back=back)) == wanted(set.union(*sets))
