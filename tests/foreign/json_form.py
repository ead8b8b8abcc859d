"""The JSON of flowstate.v1 as its origin writes and reads it, for the messages that the foreign client sends and gets."""

from __future__ import annotations

import base64
from typing import Any

from stepflow.wire import flowstate_pb2 as pb


def _clean(**items: Any) -> dict[str, Any]:
    """Without what is zero, empty or false; 64-bit numbers are texts."""
    return {
        key: str(value) if type(value) is int else value
        for key, value in items.items()
        if value not in (0, "", False, None, {}, [])
    }


def _state(state: pb.State) -> dict[str, Any]:
    made = _clean(
        id=state.id,
        rev=state.rev,
        annotations=dict(state.annotations),
        labels=dict(state.labels),
        committedAtUnixMilli=state.committed_at_unix_milli,
    )
    return made | {"transition": _transition(state.transition)}


def _transition(transition: pb.Transition) -> dict[str, Any]:
    return _clean(to=transition.to, annotations=dict(transition.annotations))


def _ctx(ctx: pb.StateCtx) -> dict[str, Any]:
    made: dict[str, Any] = {"current": _state(ctx.current)}
    if ctx.committed.rev:
        made["committed"] = _state(ctx.committed)
    datas = {
        alias: _clean(rev=data.rev, blob=data.blob, annotations=dict(data.annotations))
        for alias, data in ctx.datas.items()
    }
    return made | _clean(transitions=[_transition(item) for item in ctx.transitions], datas=datas)


def _ref(ref: pb.StateCtxRef) -> dict[str, str]:
    return {"idx": str(ref.idx)}


def dump(message: pb.Command) -> dict[str, Any]:
    """A command with the States that it lists."""
    made = {"stateCtxs": [_ctx(ctx) for ctx in message.state_ctxs]} if message.state_ctxs else {}
    return made | _command(message)


def _command(message: pb.Command) -> dict[str, Any]:
    kind = next(name.name for name, _ in message.ListFields() if name.name != "state_ctxs")
    part = getattr(message, kind)
    match kind:
        case "commit":
            return {"commit": {"commands": [_command(inner) for inner in part.commands]}}
        case "transit":
            notes = _clean(flowId=part.to, annotations=dict(part.annotations))
            return {"transit": {"stateRef": _ref(part.state_ref), **notes}}
        case "park":
            return {"park": {"stateRef": _ref(part.state_ref), **_clean(annotations=dict(part.annotations))}}
        case "delay":
            notes = _clean(
                executeAtSec=part.execute_at_sec, commit=part.commit, to=part.to, annotations=dict(part.annotations)
            )
            return {"delay": {"stateRef": _ref(part.state_ref), **notes}}
        case "stack":
            refs = {"carrierStateRef": _ref(part.carrier_state_ref), "stackedStateRef": _ref(part.stack_state_ref)}
            return {"stack": refs | {"annotation": part.annotation}}
        case "unstack":
            refs = {"carrierStateRef": _ref(part.carrier_state_ref), "unstackStateRef": _ref(part.unstack_state_ref)}
            return {"unstack": refs | {"annotation": part.annotation}}
        case "noop":
            return {"noop": {}}
        case _:
            return _read(kind, part)


def _read(kind: str, part: Any) -> dict[str, Any]:
    match kind:
        case "store_data":
            return {"storeData": {"stateRef": _ref(part.state_ref), "alias": part.alias}}
        case "get_data":
            return {"getData": {"stateRef": _ref(part.state_ref), "alias": part.alias}}
        case "get_state_by_id":
            return {"getStateByID": {"stateRef": _ref(part.state_ref), **_clean(id=part.id, rev=part.rev)}}
        case "get_state_by_labels":
            return {"getStateByLabels": {"labels": dict(part.labels), "stateRef": _ref(part.state_ref)}}
        case "get_states":
            made = _clean(
                sinceRev=part.since_rev,
                sinceTime_usec=part.since_time_usec,
                labels=[dict(group.labels) for group in part.labels],
                latestOnly=part.latest_only,
                limit=part.limit,
            )
            return {"getStates": made}
        case _:
            made = _clean(
                sinceTimeSec=part.since_time_sec,
                untilTimeSec=part.until_time_sec,
                offset=part.offset,
                limit=part.limit,
            )
            return {"getDelayedStates": made | {"Result": None}}


def load(body: dict[str, Any]) -> pb.Command:
    """An answer. Every key must be one that the origin knows, in its spelling."""
    made = pb.Command()
    for item in body.pop("stateCtxs", []):
        _load_ctx(item, made.state_ctxs.add())
    _load_command(body, made)
    return made


REFS = {
    "stateRef": "state_ref",
    "carrierStateRef": "carrier_state_ref",
    "stackedStateRef": "stack_state_ref",
    "unstackStateRef": "unstack_state_ref",
}
KINDS = {
    "transit": "transit",
    "park": "park",
    "delay": "delay",
    "commit": "commit",
    "noop": "noop",
    "stack": "stack",
    "unstack": "unstack",
    "storeData": "store_data",
    "getData": "get_data",
    "getStateByID": "get_state_by_id",
    "getStateByLabels": "get_state_by_labels",
    "getStates": "get_states",
    "getDelayedStates": "get_delayed_states",
}


def _load_command(body: dict[str, Any], made: pb.Command) -> None:
    ((key, part),) = body.items()
    message = getattr(made, KINDS[key])
    message.SetInParent()
    for inner in part.get("commands", []):
        _load_command(inner, message.commands.add())
    for name, field in REFS.items():
        if name in part:
            getattr(message, field).idx = int(part[name]["idx"])
    for state in (part.get("result") or {}).get("states") or []:
        _load_state(state, message.result.states.add())
    for delayed in (part.get("Result") or {}).get("delayedStates") or []:
        made_delayed = message.result.delayed_states.add()
        _load_state(delayed["state"], made_delayed.state)
        made_delayed.offset, made_delayed.execute_at_sec = int(delayed["offset"]), int(delayed["executeAtSec"])
    if key in ("getStates", "getDelayedStates"):
        message.result.more = (part["result" if key == "getStates" else "Result"] or {}).get("more", False)


def _load_ctx(item: dict[str, Any], made: pb.StateCtx) -> None:
    assert item.keys() <= {"current", "committed", "transitions", "datas"}
    _load_state(item["current"], made.current)
    _load_state(item.get("committed") or {"transition": {}}, made.committed)
    for transition in item.get("transitions") or []:
        _load_transition(transition, made.transitions.add())
    for alias, data in (item.get("datas") or {}).items():
        annotations = data.get("annotations") or {}
        if annotations.get("binary") == "true":
            base64.b64decode(data["blob"], validate=True)
        made.datas[alias].rev, made.datas[alias].blob = int(data.get("rev", "0")), data.get("blob", "")
        made.datas[alias].annotations.update(annotations)


def _load_state(item: dict[str, Any], made: pb.State) -> None:
    assert item.keys() <= {"id", "rev", "annotations", "labels", "committedAtUnixMilli", "transition"}
    made.id, made.rev = item.get("id", ""), int(_text(item.get("rev", "0")))
    made.committed_at_unix_milli = int(_text(item.get("committedAtUnixMilli", "0")))
    made.annotations.update(item.get("annotations") or {})
    made.labels.update(item.get("labels") or {})
    _load_transition(item["transition"], made.transition)


def _load_transition(item: dict[str, Any], made: pb.Transition) -> None:
    assert item.keys() <= {"to", "annotations"}
    made.to = item.get("to", "")
    made.annotations.update(item.get("annotations") or {})


def _text(number: Any) -> str:
    assert isinstance(number, str), f"64-bit numbers are texts: {number!r}"
    return number
