"""explain: why a run does not move, since when, and the command that moves it on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from stepflow.drivers.port.commit import Owner, Peer
from stepflow.engine.client.info import RunInfo, awaited
from stepflow.engine.clock import moment, utc_text
from stepflow.errors import UnknownState, error_line
from stepflow.model.blocked import ANEW, UNKNOWN_OUTCOME
from stepflow.model.family import child_awaited
from stepflow.model.flow import Flow
from stepflow.model.host import HOST
from stepflow.model.lifecycle import FINAL, Status
from stepflow.model.limits import Admission, LimitUsage
from stepflow.model.own_flows import OWN_FLOWS
from stepflow.model.state import DEADLINE, POSITION, WAITING, Transition
from stepflow.model.topic import topic_awaited

SHOWN = 5  # runs named in an explanation
MOST_TEXTS = 20  # events, topics and children that it names
LONGEST = 500  # characters of an error


def reason(explanation: str) -> str:
    """The line of an explanation that tells what the run waits for, or who holds it; empty if it has ended."""
    return "".join(explanation.splitlines()[1:2])


def refusal(found: Admission, limit_usage: LimitUsage) -> str:
    """Which limit keeps a run from being claimed, which runs use it up, and until when; empty if none does."""
    limit = found.limit
    if limit is None:
        return ""
    if found.until is not None:
        until = utc_text(moment(found.until))
        return f"at most {limit.rate} runs of {limit.key!r} begin within {limit.per:g} s: the next one at {until}"
    holders = limit_usage.held.get(limit.key, [])
    names = ", ".join(repr(name) for name in holders[:SHOWN]) + (", …" if len(holders) > SHOWN else "")
    return f"at most {limit.concurrency} runs of {limit.key!r} are held at a time, and these are: {names}; it waits for one"


def explain(
    info: RunInfo,
    store: str,
    flows: Mapping[str, Any],
    kept_back: str = "",
    owners: Sequence[Peer] = (),
    children: Sequence[RunInfo] = (),
    hosts: Sequence[str] = (),
    left: Sequence[str] = (),
    flow_paused: bool = False,
    of_children: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Why the run is where it is, since when, and the command that moves it on.

    `of_children` are the explanations of children, by id; `hosts` are the URLs of those that serve its flow, `left` of those that did; the flow is itself `flow_paused`.
    """
    start = "" if info.status in FINAL or info.unreadable else "its start"
    where = info.position[0] if info.position else info.to or start
    at = where and f" at {where}"  # a workflow that has ended has no position
    lines = [f"run {info.id!r} of flow {info.flow!r} is {info.status}{at} since {utc_text(info.updated_at)}"]
    due = "" if info.due is None else utc_text(info.due)
    workers = [peer.owner for peer in owners if peer.owner.flows and peer.lock != "free"]
    if info.status is Status.PAUSED:
        lines += _paused(info, store, due, flow_paused)
    elif kept_back:
        lines.append(f"it is due since {due}; {kept_back}")
    elif info.status is Status.QUEUED:
        lines.append(f"it is due since {due}; no worker has taken it{_untaken(info.to, store, workers, hosts, left)}")
        if info.to not in flows and not workers and not hosts:
            lines.append(f"this process has not registered flow {info.to!r}; a worker that has will take it")
    elif info.status is Status.RUNNING:
        lines.append(_held(info, store, flows.get(info.to), workers))
        lines += [f"its owner beat last at {utc_text(moment(at))}" for at in _beats(info, owners)]
    elif info.status is Status.SLEEPING:
        lines.append(
            f"it goes on at {due}" + (f", attempt {info.attempt} after {_short_line(info)}" if info.error else "")
        )
    elif info.status is Status.WAITING:
        lines += _waiting(info, store, due)
        lines += _redefined(info, flows.get(info.to))
    elif info.status is Status.PARKED:
        lines.append("it stays here until a commit moves it: engine.do(commit(transit(ctx, FLOW)))")
    elif info.status is Status.BLOCKED:
        lines.append(_blocked(info, store, due))
    elif info.status is Status.FAILED:
        lines.append(f"{_short_line(info)}; once the cause is fixed: {command('redrive', store, info.id)}")
    if children:
        lines.append(f"children that are open: {named(children)}")
    lines += [f"child {child!r}: {reason(text)}" for child, text in of_children.items() if reason(text)]
    if info.paused and info.status is Status.RUNNING:
        lines.append("a pause was requested: its owner releases it when its present step is stored")
    if info.cancel_requested:
        lines.append("a cancel was requested: it ends as cancelled when its present step has ended")
    lines += _at_its_end(info) + _unread(info)
    if info.crashes:
        ended = "their processes died or hung, or gave it to a host that has made no commit"
        lines.append(f"{info.crashes} claim(s) of it ended without progress: {ended}")
    if info.unreadable and (info.blocked is None or info.blocked.kind != "unreadable"):
        lines.append(f"it cannot be read here: {info.unreadable}")
    return "\n".join(lines)


def _at_its_end(info: RunInfo) -> list[str]:
    """When the time limit of a run is over, and what becomes of it then."""
    if info.ends_at is None:
        return []
    follows = "it fails if it has not ended by then"
    if info.status is Status.PAUSED:
        follows = "it fails then, or when it is resumed"
    elif info.status is Status.BLOCKED:
        follows = "it stays blocked, and fails when it goes on after that"
    elif info.ends_at <= info.updated_at and info.status is not Status.QUEUED:
        follows = "it fails when it has undone what it did"
    return [f"its run_timeout is over at {utc_text(info.ends_at)}: {follows}"]


def _held(info: RunInfo, store: str, flow: Flow[Any, Any] | None, workers: Sequence[Owner]) -> str:
    """Which owner holds a run, and what it executes; if it died, what takes the run over."""
    if not info.owner_died:
        return f"{_holder(info)} and executes {_executed(info, flow)}" + (
            f", attempt {info.attempt}" if info.attempt > 1 else ""
        )
    able = [worker.id for worker in workers if info.to in worker.flows]
    if able:
        return f"{_holder(info)}: owner {able[0]} is about to take it over"
    others = (
        "no worker is at work" if not workers else f"none of {len(workers)} at work has registered flow {info.to!r}"
    )
    return f"{_holder(info)}: {others}; run `stepflow worker MODULE --store {store}` to take it over"


def _beats(info: RunInfo, owners: Sequence[Peer]) -> list[int]:
    """When the owner of a run beat last, if that is known."""
    return [peer.owner.beat_at for peer in owners if peer.owner.id == info.owner and peer.owner.beat_at]


def _holder(info: RunInfo) -> str:
    return f"owner {info.owner} {'held it and died' if info.owner_died else 'holds it'}"


def _executed(info: RunInfo, flow: Flow[Any, Any] | None) -> str:
    """The step that a run which is held is at: its position is the one before that step, and names another one."""
    at = next((text for text in info.position if not text.startswith("attempt:")), "")
    if flow is not None and at:
        with suppress(UnknownState, ValueError):
            tasks = flow.resume(Transition(info.to, {POSITION: json.dumps(info.position)})).tasks
            if tasks:
                return " and ".join(f"{flow.name}/{task.step}" for task in tasks)
    if at.startswith(("start:", "completed:")):
        return f"what follows {at}"
    return f"flow {info.to!r}"


def _paused(info: RunInfo, store: str, due: str, flow_paused: bool) -> list[str]:
    resume_flow = f"stepflow resume --flow {shell_word(info.flow)} {store_option(store)}"
    resume = command("resume", store, info.id) if info.paused else resume_flow
    lines = [f"{'it' if info.paused else f'flow {info.flow!r}'} was paused, no worker takes it: {resume}"]
    if info.paused and flow_paused:
        lines.append(f"flow {info.flow!r} was paused, too: {resume_flow}")
    if info.awaits:
        lines += _waiting(info, store, due)
    elif info.paused and due:
        lines.append(f"then it goes on at {due}")
    return lines


def named(children: Sequence[RunInfo]) -> str:
    """The first of some open children, each with its status."""
    return ", ".join(f"{run.id!r} ({run.status})" for run in children[:SHOWN]) + (
        ", …" if len(children) > SHOWN else ""
    )


def _untaken(flow: str, store: str, workers: Sequence[Owner], hosts: Sequence[str], left: Sequence[str]) -> str:
    """Why no worker has claimed a run of this flow that is due, by what the workers have registered, and which hosts serve it."""
    command, able = f"run `stepflow worker MODULE --store {store}`", [w.id for w in workers if flow in w.flows]
    if hosts and not able:
        remote = f"`stepflow worker --remote {hosts[0]} --secret-file FILE --store {store}`"
        return f": host {hosts[0]} serves flow {flow!r}, and no worker at work calls it: run {remote}"
    if all(HOST in w.flows for w in workers if flow in w.flows) and (hosts or left):  # they may have it of a host
        if hosts:
            return (
                f" yet: owner {able[0]} calls hosts of flow {flow!r}: it is busy or about to take it, or may not call"
                f" {hosts[0]}, which serves the flow now (its log says so): give it `--remote {hosts[0]}`"
            )
        start = f"start one, `stepflow host MODULE --url {left[0]} --secret-file FILE --store {store}`"
        own = f"; if owner {able[0]} has registered the flow itself, it is busy" if able else ""
        return f": no host that may be called serves flow {flow!r} now, {left[0]} has left: {start}{own}"
    if able:
        more = f" and {len(able) - 1} more" if len(able) > 1 else ""
        return f" yet: owner {able[0]}{more} registered flow {flow!r}, busy with other runs or about to take it"
    if not workers:
        return f": {command}"
    known = ", ".join(sorted({repr(name) for w in workers for name in w.flows if name not in OWN_FLOWS})[:SHOWN])
    return f": of {len(workers)} at work none has registered flow {flow!r}, but {known}; {command} with its module"


_REMEDIES = {
    "definition": "it goes on when a definition without this fault is deployed",
    "payload": "deploy a definition, or payload stages with the key, that can read it",
    "unreadable": "`stepflow show` lists its revisions, `stepflow rewind --rev REV` goes back to one",
    "replay": "deploy code that takes the recorded way",
    "host": "mend what they refuse, or start another host",
}


def _blocked(info: RunInfo, store: str, due: str) -> str:
    if info.blocked is not None and info.blocked.kind == UNKNOWN_OUTCOME:
        return f"{info.blocked}; on the command line: {command('resolve', store, info.id)} STEP [VALUE] (or --failed MESSAGE)"
    if info.blocked is not None and info.blocked.text.endswith(ANEW):
        return f"no worker takes it: {info.blocked}: {command('wake', store, info.id)}"
    kind = "definition" if info.blocked is None else info.blocked.kind
    return f"a worker released it: {info.blocked}; {_REMEDIES[kind]}; next try {due}"


def _waiting(info: RunInfo, store: str, due: str) -> list[str]:
    lines = [f"it polls its condition, next at {due}"]
    ends = [child for name in info.awaits if (child := child_awaited(info.id, name))]
    topics = [topic for name in info.awaits if (topic := topic_awaited(name))]
    events = [name for name in info.awaits if not (child_awaited(info.id, name) or topic_awaited(name))]
    if info.awaits:
        awaited = [f"event{'s' * (len(events) > 1)} {' or '.join(_some(list(map(repr, events))))}"] if events else []
        awaited += [f"a message of topic {topic!r}" for topic in topics]
        awaited += [f"the end of its child {child!r}" for child in ends]
        how = f": {command('publish', store, info.id, events[0])} PAYLOAD" if events else ""
        lines = [f"it waits for {' or '.join(_some(awaited))}{how}"]
    if info.deadline is not None:
        lines.append(f"it times out at {utc_text(info.deadline)}")
    return lines


def _redefined(info: RunInfo, flow: Flow[Any, Any] | None) -> list[str]:
    """That the definition registered here waits otherwise, if it does."""
    notes = {WAITING: info.waiting_for, POSITION: json.dumps(info.position)}
    limit = {} if info.deadline is None else {DEADLINE: "0"}
    if flow is None or not info.position or flow.waits_at(Transition(info.to, notes | limit)):
        return []
    return ["the definition registered here does not wait like that: a worker of it takes up the run when it begins"]


def _unread(info: RunInfo) -> list[str]:
    """The events that the wait of a run will take, and those that are there for no wait: often their name is misspelt."""
    awaited = {name: count for name, count in info.unread.items() if name in info.awaits}
    others = {name: count for name, count in info.unread.items() if name not in info.awaits}
    lines = [f"events that it takes when it is advanced: {_counted(awaited)}"] if awaited else []
    return lines + ([f"events that no wait has taken: {_counted(others)}"] if others else [])


def unread(info: RunInfo) -> str:
    """The names of the unread events, and how many there are: `'paid', 'note' (3)`."""
    return _counted(info.unread)


def _counted(events: Mapping[str, int]) -> str:
    some = sorted(events.items())
    return ", ".join(_some([repr(name) + (f" ({count})" if count > 1 else "") for name, count in some]))


def _some(texts: list[str]) -> list[str]:
    """The first MOST_TEXTS, and how many are left out."""
    return texts if len(texts) <= MOST_TEXTS else [*texts[:MOST_TEXTS], f"{len(texts) - MOST_TEXTS:,} more"]


def why(info: RunInfo) -> str:
    """Why the run is blocked, its error, that its owner died, or what it waits for unless a worker holds it, as a short text."""
    if info.status is Status.BLOCKED and info.blocked is not None:
        return str(info.blocked)
    if info.owner_died and info.status is Status.RUNNING:
        return _holder(info)
    if info.error is not None:
        return _line(info)
    if info.status is Status.RUNNING or not info.awaits:
        return "" if info.status is Status.RUNNING else info.waiting_for
    texts = {name: awaited(info.id, name) for name in info.awaits}
    return ", ".join(_some([f"event:{name}" if text == name else text for name, text in texts.items()]))


def _short_line(info: RunInfo) -> str:
    text = _line(info)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def _line(info: RunInfo) -> str:
    return "" if info.error is None else error_line(info.error.type, info.error.message, info.error.step)


def shell_word(text: str) -> str:
    """A text of a user as a word of a command: in single quotes, on one line; what cannot be printed as escapes, which bash and zsh read."""
    if text.isprintable():
        return "'" + text.replace("'", "'\"'\"'") + "'"
    escaped = "".join(one if one.isprintable() and one not in "\\'" else _escape(one) for one in text)
    return f"$'{escaped}'"


def _escape(one: str) -> str:
    return f"\\{one}" if one in "\\'" else f"\\u{ord(one):04x}" if ord(one) < 0x10000 else f"\\U{ord(one):08x}"


def store_option(store: str) -> str:
    """`--store "URL"`."""
    return f"--store {shell_word(store)}" if set(store) & set('"$`\\!') else f'--store "{store}"'


def command(verb: str, store: str, *words: str) -> str:
    """`stepflow VERB WORD --store "URL" WORD...` with these words; a word that looks like an option stands behind `--`."""
    first, *others = map(shell_word, words)
    where = store_option(store)
    if any(word.startswith("-") for word in words):
        return " ".join(["stepflow", verb, where, "--", first, *others])
    return " ".join(["stepflow", verb, first, where, *others])
