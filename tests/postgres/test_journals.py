"""Journals and records as one statement brings them: what is joined for the way is divided again as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stepflow.drivers.port.journal import JournalQuery, JournalRow
from stepflow.drivers.port.step import Append
from stepflow.drivers.postgres.arrays import stored
from stepflow.drivers.postgres.journal import BETWEEN, divided
from tests.postgres.hot import FLOWS, NOW, creation, session
from tests.postgres.server import Server

ODD = ("", "\1", "\1\3", "\1\1\3", "\0", "\0\1\3\1", "\1\4", "\3\1", "a,b", '"\\', "é\U0001f600")


@given(st.lists(st.text(st.sampled_from("\0\1\2\3\4\5ab")), min_size=1))
def test_joined_texts_are_divided_as_they_were(items: list[str]) -> None:
    assert divided(BETWEEN.join(map(stored, items))) == items


def test_a_journal_is_read_as_it_was_written(server: Server) -> None:
    with session(server.url(), "worker") as store:
        store.commit([creation("r"), creation("none")], NOW)
        epochs = {claim.fence.id: claim.fence.epoch for claim in store.claim(FLOWS, NOW, 2)}
        rows = [JournalRow(f"{n}/{text}".replace("\0", ""), text, text, text, n % 2 == 1) for n, text in enumerate(ODD)]
        for row in reversed(rows):
            store.commit([Append("r", epochs["r"], (row,))], NOW)
        found, nothing = store.read(JournalQuery(("r", "none")))
        assert [row._replace(seq=0, epoch=0, at=0) for row in reversed(found)] == rows
        assert {(row.epoch, row.at) for row in found} == {(epochs["r"], NOW)}
        assert [row.seq for row in found] == sorted({row.seq for row in found})
        assert found == store.read(JournalQuery(("r",), limit=len(rows)))[0]
        assert nothing == ()


def test_claims_for_several_flows_bring_the_records(server: Server) -> None:
    with session(server.url(), "worker") as store:
        store.commit([creation("r1"), creation("r2")], NOW)
        claims = store.claim({**FLOWS, "g.v1": "two"}, NOW, 10)
        assert [claim.record for claim in claims] == store.load(["r1", "r2"])
