"""Answers with the bytes of the protocol: statuses, codes and texts, what servers get wrong, and what is no flowstate server."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime

import pytest

from stepflow import Engine, NotFound, RevMismatch, StateCtx, commit, park, transit
from stepflow.drivers.http import HttpDriver
from stepflow.drivers.http.flowstate.session import FlowstateStore
from stepflow.drivers.port.commit import Owner
from stepflow.errors import OutcomeUnknown, StoreError, TooLarge, Unavailable
from stepflow.model.commands import GetData, GetDelayedStates
from stepflow.wire import flowstate_pb2 as pb
from tests.http.flowstate.scripted import NOT_THERE, PROTOBUF, Answer, Scripted, refused, said
from tests.wire.vectors import HEX

ME = Owner("a", "host", 1)
NOT_FOUND, ABORTED = (bytes.fromhex(HEX[name][1]) for name in ("not found", "aborted"))


def empty(method: str, command: pb.Command) -> Answer:
    """An empty server."""
    return refused(404, "not_found", "state not found") if method.startswith("GetStateBy") else said(command)


@pytest.fixture
def scripted(monkeypatch):
    made: list[Scripted] = []
    monkeypatch.setattr("stepflow.drivers.http.client.RETRY_S", 0.3)

    def script(answer, other=NOT_THERE) -> Scripted:
        made.append(Scripted(answer, other))
        return made[-1]

    yield script
    for server in made:
        server.close()


def found_as(answer):
    """Answers as an empty server, but for what `answer` has for a method."""

    def answering(method: str, command: pb.Command) -> Answer:
        given = answer(method, command)
        return empty(method, command) if given == () else given

    return answering


def only(method: str, *answers: Answer):
    """These answers to a method, the last one again and again."""
    left = list(answers)

    def answering(asked: str, _command: pb.Command):
        return () if asked != method else left.pop(0) if len(left) > 1 else left[0]

    return found_as(answering)


@pytest.mark.parametrize(
    "other",
    [
        NOT_THERE,
        (200, "text/html", b"<html>the page of the web UI</html>"),
        (405, "text/plain", b""),
        (501, "text/html", b"no POST"),
    ],
)
def test_a_server_that_knows_only_flowstate_is_spoken_to_in_that(scripted, other):
    server = scripted(empty, other)
    store = HttpDriver(server.url).connect("", ME, 0)
    assert isinstance(store, FlowstateStore)
    assert {method for method, _command in server.asked} == {"GetStates"}
    store.close()


def test_clocks_that_differ_are_told_of(scripted, caplog):
    server = scripted(empty)
    now = int(parsedate_to_datetime(formatdate(usegmt=True)).timestamp()) * 1_000_000
    with caplog.at_level(logging.WARNING, "stepflow"):
        HttpDriver(server.url).connect("", ME, now).close()
        assert caplog.text == ""
        HttpDriver(server.url).connect("", ME, now + 3600 * 1_000_000).close()
    assert "differ by 3" in caplog.text
    assert "set the clocks" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        NOT_THERE,
        (200, "text/html", b"<html></html>"),
        (200, PROTOBUF, b"<html></html>"),
        (200, PROTOBUF, bytes.fromhex(HEX["noop"][1])),
        (404, PROTOBUF, b"what"),
        refused(500, "unknown", "no"),
    ],
)
def test_what_speaks_neither_is_told_as_before(scripted, answer):
    server = scripted(lambda _method, _command: answer)
    with pytest.raises(
        StoreError, match=r"answered 404: .*page not found.*; is it a stepflow server of this version\?"
    ):
        HttpDriver(server.url).connect("", ME, 0)


def test_the_texts_of_the_origin_are_understood(scripted):
    with (
        Engine(scripted(only("GetStateByID", (404, PROTOBUF, NOT_FOUND))).url) as engine,
        pytest.raises(NotFound, match="id=nope"),
    ):
        engine.get_state("nope")

    def conflict(method: str, command: pb.Command):
        if method == "Commit":
            return 409, PROTOBUF, ABORTED
        return (
            said(_found(command, "p-1", 7)) if method == "GetStateByID" and command.get_state_by_id.id == "p-1" else ()
        )

    with Engine(scripted(found_as(conflict)).url) as engine, pytest.raises(RevMismatch) as caught:
        engine.do(commit(park(StateCtx("o-1")), park(StateCtx("p-1"))))
    assert caught.value.ids == ["p-1"]


def _found(command: pb.Command, state_id: str, rev: int, **notes: str) -> pb.Command:
    command.state_ctxs[0].current.id, command.state_ctxs[0].current.rev = state_id, rev
    command.state_ctxs[0].current.annotations.update(notes)
    command.state_ctxs[0].committed.CopyFrom(command.state_ctxs[0].current)
    return command


def test_a_conflict_names_all_that_do_not_match_whatever_the_server_says(scripted):
    """A server names the first State, and an id with a comma cannot be told from two."""

    def conflict(method: str, command: pb.Command):
        if method == "Commit":
            return refused(409, "aborted", "rev mismatch: a, b")
        wanted = command.get_state_by_id.id
        return said(_found(command, wanted, 9)) if method == "GetStateByID" and wanted in ("a, b", "z") else ()

    with Engine(scripted(found_as(conflict)).url) as engine, pytest.raises(RevMismatch) as caught:
        engine.do(commit(park(StateCtx("a")), park(StateCtx("a, b")), park(StateCtx("z"))))
    assert caught.value.ids == ["a, b", "z"]


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (refused(400, "invalid_argument", "id is empty"), StoreError, "answered invalid_argument: id is empty"),
        (refused(500, "unknown", "disk full"), StoreError, "answered unknown: disk full"),
        ((413, "text/plain", b"too large"), TooLarge, "store large values elsewhere"),
        ((401, "text/plain", b"who?"), StoreError, "the secret of a token .* http://SECRET@host:port"),
        ((200, PROTOBUF, b"\x0a\x7f\x01"), StoreError, "bytes that are no flowstate.v1 message"),
        ((200, PROTOBUF, b""), StoreError, "0 States: 1 was asked for"),
        ((503, "text/plain", b"later"), Unavailable, "does not answer: 503"),
        (None, Unavailable, "does not answer"),
    ],
)
def test_other_answers_to_a_question(scripted, answer, kind, text):
    with Engine(scripted(only("GetStateByID", answer)).url) as engine, pytest.raises(kind, match=text):
        engine.get_state("s")


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (refused(400, "invalid_argument", "flow id empty"), StoreError, "invalid_argument: flow id empty"),
        (refused(500, "unknown", "state id empty"), StoreError, "unknown: state id empty"),
        (
            (200, PROTOBUF, bytes.fromhex(HEX["noop"][1])),
            OutcomeUnknown,
            "without their new revisions, and they are not there: read them again",
        ),
        ((502, "text/html", b"bad gateway"), OutcomeUnknown, "'s' was made is not known"),
        (None, OutcomeUnknown, "'s' was made is not known"),
    ],
)
def test_other_answers_to_a_commit(scripted, answer, kind, text):
    server = scripted(only("Commit", answer))
    ctx = StateCtx("s")
    with Engine(server.url) as engine, pytest.raises(kind, match=text):
        engine.do(commit(park(ctx)))
    assert (ctx.rev, ctx.transitions) == (0, [])
    assert len([method for method, _command in server.asked if method == "Commit"]) == (3 if "was made" in text else 1)


def test_a_commit_that_an_error_did_not_prevent_is_found(scripted):
    """A server whose database closes the connection in its commit answers 500, and has committed."""
    made: list[pb.State] = []

    def committing(method: str, command: pb.Command):
        if method == "Commit":
            made.append(pb.State(id="s", rev=5, committed_at_unix_milli=7))
            made[0].transition.annotations.update(command.commit.commands[0].park.annotations)
            return refused(500, "unknown", "conn closed")
        if method == "GetStateByID" and made:
            command.state_ctxs[0].current.CopyFrom(made[0])
            return said(command)
        return ()

    ctx = StateCtx("s")
    with Engine(scripted(found_as(committing)).url) as engine:
        engine.do(commit(park(ctx, k="v")))
    assert (ctx.rev, ctx.committed_at, ctx.transition.annotations) == (5, 7000, {"k": "v"})


def test_a_state_that_keeps_what_was_taken_away_is_told_of(scripted, caplog):
    """The memory driver of the origin merges a State with its last revision."""

    def keeping(method: str, command: pb.Command):
        if method != "Commit":
            return ()
        return said(_found(command, "s", 5, kept="yes"))

    with Engine(scripted(found_as(keeping)).url) as engine, caplog.at_level(logging.WARNING, "stepflow"):
        engine.do(commit(park(StateCtx("s"))))
    assert "keeps labels and annotations that a commit takes away" in caplog.text
    assert "State s, kept" in caplog.text


def listing(*states: pb.State, pages, more: bool = False):
    """A server with these States, which answers GetStates with what `pages` makes of them and the query."""

    def answering(method: str, command: pb.Command):
        if method == "GetStates":
            command.get_states.result.more = more
            command.get_states.result.states.extend(pages(states, command.get_states))
            return said(command)
        if method == "GetStateByID":
            mine = [state for state in states if state.id == command.get_state_by_id.id]
            if mine:
                command.state_ctxs[0].current.CopyFrom(mine[-1])
                return said(command)
        return ()

    return found_as(answering)


def newer(states, query):
    """As most servers do it; the newest one for -1."""
    if query.since_rev == -1:
        return states[-1:]
    return [state for state in states if state.rev > query.since_rev][: query.limit]


LOG = [pb.State(id=f"s{rev % 3}", rev=rev, committed_at_unix_milli=rev * 1000) for rev in range(1, 8)]
FIVE = datetime.fromtimestamp(5, UTC)


def test_pages_are_read_to_the_end_whatever_the_server_says_of_more(scripted):
    def few(states, query):
        return newer(states, query)[:2]

    with Engine(scripted(listing(*LOG, pages=few)).url) as engine:
        assert [state.rev for state in engine.states({"any": "label"}, limit=50).states] == list(range(1, 8))


def test_a_server_that_takes_since_time_for_exclusive_or_ignores_the_revision_beside_it(scripted):
    def badger(states, query):
        if query.since_time_usec:
            return [state for state in states if state.committed_at_unix_milli > query.since_time_usec][: query.limit]
        return newer(states, query)

    with Engine(scripted(listing(*LOG, pages=badger)).url) as engine:
        assert [state.rev for state in engine.states(since=FIVE).states] == [5, 6, 7]
        assert [state.rev for state in engine.states(since=FIVE, since_rev=5).states] == [6, 7]


def test_a_revision_that_is_not_the_newest_of_its_state_is_not_latest(scripted):
    with Engine(scripted(listing(*LOG, pages=newer)).url) as engine:
        assert [state.rev for state in engine.states(latest_only=True).states] == [5, 6, 7]


def test_a_state_that_is_found_once_for_each_group_is_delivered_once(scripted):
    def twice(states, query):
        return [one for state in newer(states, query) for one in (state, state)]

    with Engine(scripted(listing(*LOG, pages=twice)).url) as engine:
        assert [state.rev for state in engine.states({"a": "1"}, {"b": "2"}).states] == list(range(1, 8))


@pytest.mark.parametrize(("order", "text"), [((3, 2), "revision 2 behind 3"), ((1,), "older ones only")])
def test_pages_that_cannot_be_right_are_an_error(scripted, order, text):
    def wrong(states, query):
        return states[-1:] if query.since_rev == -1 else [states[rev - 1] for rev in order]

    with Engine(scripted(listing(*LOG, pages=wrong)).url) as engine, pytest.raises(StoreError, match=text):
        engine.states(since_rev=1)


def test_a_server_that_finds_no_newest_revision_is_read_from_the_begin(scripted):
    """The Badger driver of the origin after a restart."""

    def forgetful(states, query):
        return [] if query.since_rev == -1 else newer(states, query)

    with Engine(scripted(listing(*LOG, pages=forgetful)).url) as engine:
        watch = engine.watch()
        assert [watch.next(timeout=60).rev for _ in LOG] == list(range(1, 8))


def test_delays_are_read_whole_in_whatever_order_they_come(scripted):
    def delays(method: str, command: pb.Command):
        if method != "GetDelayedStates":
            return ()
        query = command.get_delayed_states
        every = [(offset, 1000 - offset) for offset in range(1, 301)]
        found = [
            one for one in every if one[0] > query.offset and query.since_time_sec < one[1] <= query.until_time_sec
        ]
        for offset, at in found[: query.limit]:
            query.result.delayed_states.add(offset=offset, execute_at_sec=at).state.id = "s"
        query.result.more = len(found) > query.limit
        return said(command)

    with Engine(scripted(found_as(delays)).url) as engine:
        found = engine.do(GetDelayedStates(limit=400))
        assert [(one.offset, one.due) for one in found] == [(n, (1000 - n) * 1_000_000) for n in range(300, 0, -1)]
        part = engine.do(GetDelayedStates(datetime.fromtimestamp(703, UTC), datetime.fromtimestamp(720, UTC), 290, 400))
        assert [one.offset for one in part] == [296, 295, 294, 293, 292, 291]


def test_data_that_are_not_there(scripted):
    ctx = StateCtx("s", annotations={"flowstate.data.cfg": "9"})
    for answer, text in (
        (refused(500, "unknown", "data not found"), "data not found: revision 9"),
        (refused(500, "unknown", "no rows"), "answered unknown: no rows"),
        ((200, PROTOBUF, b""), "answered GetData for revision 9 without it"),
    ):
        with Engine(scripted(only("GetData", answer)).url) as engine, pytest.raises(Exception, match=text):
            engine.do(GetData(ctx, "cfg"))
        assert ctx.datas == {}


def test_what_is_sent_is_what_the_origin_sends(scripted):
    def accepting(method: str, command: pb.Command):
        return said(_found(command, "s", command.state_ctxs[0].current.rev + 5)) if method == "Commit" else ()

    server = scripted(found_as(accepting))
    with Engine(server.url) as engine:
        ctx = StateCtx("s", {"l": "1"}, {"a": "2"})
        engine.do(commit(transit(ctx, "f", why="new")))
        engine.do(commit(park(ctx)))
    first, second = [command for method, command in server.asked if method == "Commit"]
    assert [(c.state_ctxs[0].committed.rev, c.state_ctxs[0].current.rev) for c in (first, second)] == [(0, 0), (5, 5)]
    sent = first.commit.commands[0].transit
    assert sent.state_ref.HasField("idx")
    assert sent.to == "f"
    assert {name for name in sent.annotations if name != "stepflow.commit"} == {"why"}
    current = first.state_ctxs[0].current
    assert (dict(current.labels), dict(current.annotations), current.id) == ({"l": "1"}, {"a": "2"}, "s")
