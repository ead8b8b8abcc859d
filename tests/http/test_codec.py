"""What crosses the network: texts that are no values are refused, and large batches go in several requests."""

from __future__ import annotations

from collections import Counter

import pytest

from stepflow.drivers.http.client import ServerClient
from stepflow.drivers.http.codec import BadValue, dump, dump_results, from_bytes, load, load_results, to_bytes
from stepflow.drivers.memory import MemoryDriver
from stepflow.drivers.port.commit import Committed, Dequeue, Enqueue, Owner
from stepflow.drivers.port.queries import LimitUsageQuery
from stepflow.drivers.port.step import Member, Step
from stepflow.drivers.port.store import Query
from stepflow.errors import LostClaim
from stepflow.model.limits import Limit
from stepflow.model.limits import dump as limit_text
from stepflow.model.state import PARKED, Transition
from stepflow.testing.conformance.kit import NOW, creation
from tests.http.served import Served

TRANSITIONS = [
    PARKED,
    Transition("order"),
    Transition("ö\ud800", {"stepflow.state": '["completed:ö/pay"]', "\x03": "\x05completed:"}),
    Transition("order", {"stepflow.waiting": "event:a", "stepflow.also": '["b"]', "stepflow.deadline": "7"}),
]


@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("part", [None, Dequeue("r"), Enqueue("r", "order", 7, owned=True)])
def test_a_step_arrives_as_it_was_sent(transition, part):
    step = Step("r", 3, 7, transition, {"a": "b"}, {}, '{"x": 1}', part, {"a": "c"})
    (found,) = load(from_bytes(to_bytes(dump([step], list[Member]))), list[Member])
    assert found.commit() == step.commit()
    assert found.transition.text == transition.text
    assert found.transition.events == transition.events


@pytest.mark.parametrize(
    "text",
    [None, 7, {}, "", "{", "7", "null", "[]", "{}", '{"to": ""}', '{"to": 1, "annotations": {}}', '{"to": "", "annotations": []}',
     '{"to": "", "annotations": {"a": 1}}', '{"to": "", "annotations": {"stepflow.waiting": 1}}', "[" * 100_000,
     '{"to": "", "annotations": {"stepflow.waiting": "event:a", "stepflow.also": "["}}',
     '{"to": "", "annotations": {"stepflow.waiting": "event:a", "stepflow.also": "7"}}'],
)  # fmt: skip
def test_a_text_that_is_no_transition_is_refused(text):
    plain = dump([Step("r", 3, 7, PARKED, {}, {})], list[Member])
    plain[0][1]["transition"] = text
    with pytest.raises(BadValue):
        load(plain, list[Member])


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "null",
        "3",
        "{}",
        '[["a"]]',
        '[["k", "x"]]',
        '[["k", -5]]',
        '[["k",1]]',
        '[["b", 1], ["a", 1]]',
        "[" * 100_000,
    ],
)
def test_a_text_that_is_no_limits_is_refused(text):
    with pytest.raises(BadValue, match="are no limits"):
        load(dump([Enqueue("r", "order", 7, limits=text)], list[Enqueue]), list[Enqueue])
    with pytest.raises(BadValue, match="are no limits"):
        load(dump(LimitUsageQuery(text, 7), Query), Query)


def test_limits_arrive_as_they_were_sent():
    for limits in ((), [Limit("b", 1)], [Limit("a", rate=2, per=0.5), Limit("b", 3, rate=1)]):
        (found,) = load(dump([Enqueue("r", "order", 7, limits=limit_text(limits))], list[Enqueue]), list[Enqueue])
        assert found.limits == limit_text(limits)


def test_answers_arrive_as_they_were_sent():
    sent = [(7, NOW), (8, NOW, 3), Committed((9,), (1,), (2,), (3,), NOW), LostClaim("lost")]
    *found, error = load_results(from_bytes(to_bytes(dump_results(sent))))
    assert found == sent[:-1]
    assert [type(item) for item in found] == [tuple, tuple, Committed]
    assert (type(error), str(error)) == (LostClaim, "lost")


@pytest.mark.parametrize("plain", [7, "7", [7.0], ["7"], [True], [None], {"7": 7}])
def test_what_is_no_list_of_integers_is_refused(plain):
    with pytest.raises(BadValue):
        load(plain, tuple[int, ...])


def test_a_large_batch_goes_in_several_requests(monkeypatch):
    sizes: Counter[int] = Counter()
    post = ServerClient._post

    def counted(client, method, body, wait_s):
        sizes.update([len(body)] if method == "commit" else [])
        return post(client, method, body, wait_s)

    monkeypatch.setattr(ServerClient, "_post", counted)
    monkeypatch.setattr("stepflow.drivers.http.session.LARGEST", 4000)
    served = Served(MemoryDriver())
    store = served.driver.connect("", Owner("a", "host", 1), NOW)
    large = creation("large", exchange=f'"{"x" * 10_000}"')
    batch = [*(creation(f"r{n:02}") for n in range(40)), large, *(creation(f"s{n:02}") for n in range(40))]
    results = store.commit(batch, NOW)
    revs = [done.revs[0] for done in results]
    assert len(set(revs)) == len(batch)
    assert [record.state.rev for record in store.load([commit.writes[0].state.id for commit in batch])] == revs
    assert [size for size in sizes.elements() if size > 4000] == [max(sizes)]  # one that cannot be shorter goes alone
    assert max(sizes) > 10_000
    assert 1 < sum(sizes.values()) < len(batch) / 2
    store.close()
    served.close()
