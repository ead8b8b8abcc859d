"""Law 9 for large exchanges: one that is stored as deltas comes back whole, wherever it is read."""

from __future__ import annotations

import random

import pytest

from stepflow.drivers.port.commit import Claim, Commit, Release
from stepflow.drivers.port.delays import Delay, delay_key
from stepflow.drivers.port.deltas import MOST, UNKNOWN, is_delta, parts_of, stored_form
from stepflow.drivers.port.queries import HistoryQuery
from stepflow.drivers.port.store import Store
from stepflow.model.state import State
from stepflow.testing.conformance.kit import (
    NOW,
    Sessions,
    as_loaded,
    as_member,
    claim,
    creation,
    ended,
    going,
    make,
    record,
    step,
    write,
)

ALPHABET = 'ab ,:"{}[]\\\n\x00\x01\x02é日🦜'
LENGTH = 20_000


def _text(random_: random.Random, length: int) -> str:
    return "[" + "".join(random_.choices(ALPHABET, k=length))


def _edited(random_: random.Random, text: str) -> str:
    """The same text with some changes anywhere."""
    for _ in range(random_.randrange(1, 5)):
        large = random_.random() < 0.02
        at, gone = random_.randrange(1, len(text)), random_.choice((0, 1, 30)) * (1 + 30 * large)
        text = text[:at] + "".join(random_.choices(ALPHABET, k=40 * (1 + 20 * large))) + text[at + gone :]
    return text


class _Edits:
    """A claimed run whose exchange changes a little in every commit, stored as an engine does it."""

    def __init__(self, store: Store, held: Claim, text: str, seed: int) -> None:
        self.store, self.held, self.random = store, held, random.Random(seed)  # noqa: S311 - reproducible texts
        self.rev, self.texts = held.row.claim_rev, {held.row.claim_rev: text}
        self.parts, self.deltas = parts_of(self.rev, text), 0

    def edit(self, text: str = "", *, as_step: bool = True) -> None:
        """One commit, as a Step or as a Commit."""
        old = self.texts[self.rev]
        text = text or _edited(self.random, old)
        stored = self.stored(text)
        commit = step(self.held, self.rev, going(f"at-{self.rev}"), stored)
        self.rev = make(self.store, as_member(commit) if as_step else commit)[0]
        self.parts, self.deltas = parts_of(self.rev, stored), self.deltas + is_delta(stored)
        self.texts[self.rev] = text

    def stored(self, text: str) -> str:
        """The form in which the next exchange is stored."""
        return stored_form(self.texts[self.rev], text, self.parts) if self.store.takes_deltas else text

    def rest(self) -> None:
        """A commit that leaves the exchange as it is."""
        text = self.texts[self.rev]
        self.rev = make(self.store, as_member(step(self.held, self.rev, going("rest"))))[0]
        self.texts[self.rev] = text


def _begun(store: Store, *names: str) -> dict[str, _Edits]:
    texts = {name: _text(random.Random(name), LENGTH) for name in names}  # noqa: S311 - reproducible texts
    make(store, *[creation(name, exchange=text) for name, text in texts.items()])
    return {name: _Edits(store, held, texts[name], len(name)) for name, held in claim(store).items()}


def _history(store: Store, run_id: str | None, **options: int) -> dict[int, str]:
    return {
        one.state.rev: one.exchange
        for one in store.read(HistoryQuery(run_id, **{"limit": 1000, **options}))  # type: ignore[arg-type]
    }


class DeltaLaws:
    """Large exchanges that change little."""

    def test_law_9_deltas_come_back_whole_in_every_read(self, sessions: Sessions) -> None:
        store = sessions.session()
        runs = _begun(store, "a", "bb")
        for number in range(MOST + 6):
            for run_id, edits in runs.items():
                edits.edit(as_step=number % 3 != 0)
                if number % 5 == 0:
                    edits.rest()
                if number % 9 == 0 or number >= MOST:
                    found = record(store, run_id)
                    assert found.exchange == edits.texts[edits.rev]
                    assert found.parts in (UNKNOWN, edits.parts)
        texts = runs["a"].texts | runs["bb"].texts
        if store.takes_deltas:
            assert min(edits.deltas for edits in runs.values()) > MOST // 2
        assert _history(store, None) == texts
        for run_id, edits in runs.items():
            assert _history(store, run_id) == edits.texts
            for rev in sorted(edits.texts)[::31]:
                assert _history(store, run_id, since_rev=rev - 1, limit=1) == {rev: edits.texts[rev]}
                assert _history(store, run_id, until_rev=rev, limit=1, last=True) == {rev: edits.texts[rev]}
        other = sessions.session()
        assert [one.exchange for one in other.load(["a", "bb"]) if one] == [e.texts[e.rev] for e in runs.values()]
        assert sessions.driver.maintenance("").check() == []

    def test_law_9_deltas_go_on_in_the_next_claim(self, sessions: Sessions) -> None:
        store = sessions.session()
        (edits,) = _begun(store, "a").values()
        for number in range(6):
            edits.edit()
            store.release([Release(edits.held.fence, NOW)], NOW)
            store.close()
            store = edits.store = sessions.session()
            (edits.held,) = as_loaded(store, list(claim(store).values()))
            found = record(store, "a")
            assert found.exchange == edits.texts[edits.rev], number
            assert found.parts in (UNKNOWN, edits.parts)
        edits.edit("[]")
        edits.edit(_text(edits.random, LENGTH))
        edits.edit()
        assert record(store, "a").exchange == edits.texts[edits.rev]
        assert _history(store, "a") == edits.texts

    def test_law_9_a_delay_keeps_the_exchange_as_of_its_start(self, sessions: Sessions) -> None:
        store = sessions.session()
        (edits,) = _begun(store, "a").values()
        edits.edit()
        edits.edit()
        make(store, Commit(delays=(Delay(State("a", edits.rev, going("later")), NOW + 9, commit=False),)))
        then = edits.texts[edits.rev]
        edits.edit()
        assert record(store, delay_key("a", 1)).exchange == then

    def test_law_9_pruning_takes_whole_texts_and_deltas_together(self, sessions: Sessions) -> None:
        store = sessions.session()
        runs = _begun(store, "a", "bb")
        for _ in range(4):
            for edits in runs.values():
                edits.edit()
        a, b = runs.values()
        make(store, step(a.held, a.rev, ended(), end=True))
        assert sessions.driver.maintenance("").prune(NOW + 1, 10) == 1
        assert store.load(["a"]) == [None]
        assert record(store, "bb").exchange == b.texts[b.rev]
        assert _history(store, None) == b.texts
        assert sessions.driver.maintenance("").check() == []

    def test_law_15_a_page_of_revisions_is_bounded_by_its_size(self, sessions: Sessions) -> None:
        store = sessions.session()
        if not store.takes_deltas:
            pytest.skip("the texts that the store keeps have another size than those that it was given")
        text = "abcdefgh" * (LENGTH // 8)
        make(store, creation("a", exchange=text))
        edits = _Edits(store, claim(store)["a"], text, 1)
        for _ in range(4):
            edits.edit()
        for _ in range(4):
            edits.edit("".join(edits.random.choices("abcdefgh", k=LENGTH)))
        revs = sorted(edits.texts)
        for max_size, number in ((1, 1), (int(2.5 * LENGTH), 2), (int(4.5 * LENGTH), 4), (100 * LENGTH, 9)):
            some: dict[str, int] = {"max_size": max_size}
            for run_id in ("a", None):
                assert list(_history(store, run_id, **some)) == revs[:number]
                assert list(_history(store, run_id, last=True, **some)) == revs[-number:]
                found = _history(store, run_id, last=True, until_rev=revs[6], **some)
                assert found == {rev: edits.texts[rev] for rev in revs[:7][-number:]}
        assert len(_history(store, "a", max_size=1, exchange=False)) == len(revs)

    def test_law_9_a_write_that_is_refused_leaves_the_exchange(self, sessions: Sessions) -> None:
        store = sessions.session()
        (edits,) = _begun(store, "a").values()
        edits.edit()
        text = edits.texts[edits.rev]
        stored = edits.stored(_edited(edits.random, text))
        make(store, creation("c"))
        stale = write("a", edits.rev - 1, exchange=stored)
        assert isinstance(store.commit([stale], NOW)[0], Exception)
        assert record(store, "a").exchange == text
