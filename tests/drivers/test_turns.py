"""Flows take turns in a claim, whatever was found; where more runs may be due than were found, nothing is decided too early."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stepflow.drivers.port.turns import Candidate, admitted, first
from stepflow.model.limits import Limit, LimitUsage, dump

TEXTS = ["", "", dump([Limit("k", 1)]), dump([Limit("k", 2)]), dump([Limit("k", 2), Limit("l", 1)])]
orders = st.tuples(st.integers(-2, 2), st.integers(0, 5), st.text("xyz", min_size=3, max_size=9))
rows = st.lists(
    st.tuples(orders, st.sampled_from("abc"), st.sampled_from(TEXTS), st.none()), unique_by=lambda one: one[0][2]
)


@given(rows, st.permutations("abc"))
def test_each_round_takes_one_run_of_each_flow(found, flows):
    order = first(found, flows, len(found))
    assert sorted(order) == sorted(found)
    urgent = [one for one in sorted(found) if one[0][0] < 0]
    assert order[: len(urgent)] == urgent
    rest = order[len(urgent) :]
    for flow in flows:  # the order inside of a flow stays
        assert [one for one in rest if one[1] == flow] == sorted(
            one for one in found if one[1] == flow and one[0][0] >= 0
        )
    left = Counter(one[1] for one in rest)
    while rest:
        turn = [flow for flow in flows if left[flow]]
        assert [one[1] for one in rest[: len(turn)]] == turn
        rest, left = rest[len(turn) :], left - Counter(turn)


@given(rows, st.permutations("abc"), st.integers(1, 6), st.dictionaries(st.sampled_from("abc"), orders))
def test_what_is_decided_without_the_rest_is_what_is_decided_with_it(found, flows, limit, ends):
    """`ends` hides what is behind them: the answer is the same as with everything, or it is not known."""

    def known(one: Candidate) -> bool:
        return one[1] not in ends or one[0] <= ends[one[1]]

    whole, decided = admitted(found, flows, LimitUsage(), 0, limit)
    assert decided
    part, decided = admitted([one for one in found if known(one)], flows, LimitUsage(), 0, limit, ends)
    if decided:
        assert part == whole
    else:
        assert part == whole[: len(part)]
