"""The messages of flowstate.v1.Driver, as a client writes and reads them: protobuf.

A message is a command. It lists working copies of States, to which the parts of a command refer by their place. The place is
written even if it is 0: the origin takes a missing one for a mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import define, field

from stepflow.drivers.port.delays import Delay
from stepflow.model.ctx import StateCtx
from stepflow.model.protobuf import (
    bytes_of,
    fields_of,
    map_field,
    message_field,
    number_field,
    signed_of,
    text_field,
    varint,
)
from stepflow.model.stacked import decode_ctx, decode_state, encode_ctx
from stepflow.model.state import State

SECOND = 1_000_000  # microseconds
CODE, MESSAGE = 1, 2  # fields of an error
COMMITS = 9  # field of a Command
GET_STATES, GET_DELAYED = 19, 20
NEEDS_NO_COMMIT = "flowstate.delay.commit"  # transition annotation: "false"


def message(ctxs: Sequence[StateCtx], command: bytes) -> bytes:
    """A command and the working copies to which it refers."""
    return b"".join(message_field(1, encode_ctx(ctx)) for ctx in ctxs) + command


def _ref(number: int, place: int) -> bytes:
    return message_field(number, b"\x08" + varint(place))


def transit(place: int, to: str, notes: Mapping[str, str]) -> bytes:
    """Move a State to a flow."""
    return message_field(3, _ref(1, place) + text_field(2, to) + map_field(3, notes))


def park(place: int, notes: Mapping[str, str]) -> bytes:
    """Park a State."""
    return message_field(6, _ref(1, place) + map_field(3, notes))


def delay(place: int, to: str, at_s: int, notes: Mapping[str, str], commit: bool) -> bytes:
    """Move a State, as it is, to a flow at a time, seconds since 1970."""
    times = number_field(3, at_s) + number_field(4, int(commit))
    return message_field(8, _ref(1, place) + times + text_field(5, to) + map_field(6, notes))


def commit(commands: Iterable[bytes]) -> bytes:
    """All of these commands or none."""
    return message_field(COMMITS, b"".join(message_field(1, one) for one in commands))


def stack(carrier: int, stacked: int, annotation: str) -> bytes:
    """Put a State into an annotation of another one."""
    return message_field(11, _ref(1, carrier) + _ref(2, stacked) + text_field(3, annotation))


def store_data(place: int, alias: str) -> bytes:
    """Store the data of an alias."""
    return message_field(21, _ref(1, place) + text_field(2, alias))


def get_data(place: int, alias: str) -> bytes:
    """Read the data to which a State refers by an alias."""
    return message_field(22, _ref(1, place) + text_field(2, alias))


def get_by_id(place: int, state_id: str, rev: int) -> bytes:
    """Read a State, the newest revision if `rev` is 0."""
    return message_field(17, text_field(1, state_id) + number_field(2, rev) + _ref(3, place))


def get_by_labels(place: int, labels: Mapping[str, str]) -> bytes:
    """Read the newest revision that has all these labels."""
    return message_field(18, map_field(1, labels) + _ref(2, place))


def get_states(
    since_rev: int, limit: int, groups: Iterable[Mapping[str, str]] = (), since_ms: int = 0, latest_only: bool = False
) -> bytes:
    """Read revisions in ascending order."""
    labels = b"".join(message_field(3, map_field(1, group)) for group in groups)
    numbers = number_field(1, since_rev) + number_field(2, since_ms)
    return message_field(GET_STATES, numbers + labels + number_field(4, int(latest_only)) + number_field(5, limit))


def get_delayed(since_s: int, until_s: int, offset: int, limit: int) -> bytes:
    """Read delays."""
    window = number_field(1, since_s) + number_field(2, until_s)
    return message_field(GET_DELAYED, window + number_field(3, offset) + number_field(4, limit))


@define
class Answer:
    """What a server answered: the working copies, and the results of a query.

    `answered`: the query came back. A result in which nothing is need not be written.
    """

    ctxs: list[StateCtx] = field(factory=list)
    states: list[State] = field(factory=list)
    delays: list[Delay] = field(factory=list)
    more: bool = False
    answered: bool = False


def answer_of(raw: bytes) -> Answer:
    """The answer in these bytes; ValueError or IndexError for bytes that are no command."""
    made = Answer()
    for number, value in fields_of(raw):
        if number == 1:
            made.ctxs.append(decode_ctx(bytes_of(value)))
        elif number == GET_STATES:
            _take_result(made, bytes_of(value), 6, lambda one: made.states.append(decode_state(one)))
        elif number == GET_DELAYED:
            _take_result(made, bytes_of(value), 5, lambda one: made.delays.append(_delay_of(one)))
    return made


def _take_result(made: Answer, query: bytes, place: int, take: Callable[[bytes], None]) -> None:
    made.answered = True
    for number, value in fields_of(query):
        if number != place:
            continue
        for part, found in fields_of(bytes_of(value)):
            if part == 1:
                take(bytes_of(found))
            elif part == 2:
                made.more = signed_of(found) != 0


def _delay_of(raw: bytes) -> Delay:
    """DelayedState: 1 state, 2 offset, 3 execute_at_sec."""
    state, offset, at_s = State(""), 0, 0
    for number, value in fields_of(raw):
        if number == 1:
            state = decode_state(bytes_of(value))
        elif number == 2:
            offset = signed_of(value)
        elif number == 3:
            at_s = signed_of(value)
    needs = state.transition.annotations.get(NEEDS_NO_COMMIT) != "false"
    return Delay(state, at_s * SECOND, needs, offset)


def error_of(raw: bytes) -> tuple[str, str]:
    """Code and message of an error; ValueError or IndexError for bytes that are none."""
    found = {number: bytes_of(value).decode() for number, value in fields_of(raw)}
    if not found.get(CODE):
        raise ValueError("an error without a code")
    return found[CODE], found.get(MESSAGE, "")
