"""Pipeline: applies the stages to texts and blobs, and undoes them by the tags that are stored with each."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

from attrs import evolve

from stepflow.drivers.payload.stages import Stage
from stepflow.drivers.port.commit import Commit, Created, Event, Record, Write
from stepflow.drivers.port.delays import Delay, StoredData
from stepflow.drivers.port.journal import JournalRow
from stepflow.drivers.port.queries import Revision
from stepflow.drivers.port.schedules import ScheduleChange, ScheduleEdit, ScheduleRow
from stepflow.drivers.port.step import Append, Member, Step, whole
from stepflow.errors import CodecError, StepflowError, Unavailable
from stepflow.model.codec import SEALED, UNOPENED, UNREADABLE, Unopened
from stepflow.model.schedule_edit import DAMAGED, each_part, each_value
from stepflow.model.state import ERROR, RESOLVED, State, Transition

BLOB = b"stepflow.sealed.1:"  # begins each blob
UNKEPT = "(a payload stage did not take the reason: the worker has logged it)"
_KIND = re.compile(r"\[\w+\] ")  # of the reason why a run is blocked (`stepflow.model.blocked`)
log = logging.getLogger("stepflow")


def checked_stages(given: Any) -> tuple[Stage, ...]:
    """The stages of `payload=`."""
    if not isinstance(given, list | tuple) or not all(isinstance(stage, Stage) for stage in given):
        raise StepflowError(f"payload={given!r:.100}: give a list of stages, e.g. [Zlib(), Fernet([key])]")
    tags = [stage.tag for stage in given]
    if len(set(tags)) < len(tags) or not all(tag.isalnum() for tag in tags):
        raise StepflowError(
            f"payload: the stages have the tags {tags}: each needs one of its own, of letters and digits"
        )
    return tuple(given)


class Pipeline:
    """The stages in their order. What it cannot open it leaves as it is stored: the codec refuses that with the reason."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = {stage.tag: stage for stage in stages}
        self._secret = any(stage.secret for stage in stages)

    def seal(self, text: str, errors: str = "strict") -> str:
        """The stored form of a text; that of one which could not be opened is the same again."""
        if text[:1] == SEALED:
            return text
        tags, data = self._packed(text.encode("utf-8", errors))
        return f"{SEALED}1{tags}:{b64encode(data).decode()}" if tags else text

    def open(self, text: str) -> str:
        """The text of a stored form."""
        if text[:1] != SEALED:
            return text
        tags, _colon, data = text[2:].partition(":")
        try:
            return self._unpacked(tags, b64decode(data)).decode("utf-8", "surrogatepass")
        except Exception as error:  # noqa: BLE001 - of a stage
            log.warning("a stored value cannot be opened by payload stages (%s): %r", tags, error)
            return text

    def seal_hash(self, digest: str) -> str:
        """The stored form of an input's digest; that of a fork is stored already."""
        if ":" in digest:
            return digest
        for stage in self._stages.values():
            digest = stage.seal_hash(digest)
        return digest

    def same_input(self, stored: str, digest: str) -> bool:
        """Whether the stored form is that of this digest. CodecError if a key is not there."""
        found = [stage.is_hash(stored, digest) for stage in self._stages.values()]
        if ":" in stored and not [one for one in found if one is not None]:
            raise Unopened(f"the input of the run cannot be compared: {UNOPENED}")
        return stored == digest or any(found)

    def sealed(self, member: Member) -> Member:
        """What is stored instead of a member of a batch. Raises Unavailable if a stage fails."""
        try:
            if isinstance(member, Step):
                return self._step(member)
            if isinstance(member, Append):
                return Append(member.id, member.epoch, self._rows(member.rows), member.consume)
            return self.commit(member)
        except UnicodeEncodeError as error:
            raise CodecError(f"half of a surrogate pair cannot be encoded as UTF-8: {error}") from error
        except Exception as error:
            raise Unavailable(f"a payload stage failed, nothing was written: {error!r}") from error

    def commit(self, commit: Commit) -> Commit:
        """The stored form of a commit."""
        return commit._replace(
            writes=tuple(map(self._write, commit.writes)),
            publish=tuple(map(self._event, commit.publish)),
            delays=tuple(evolve(delay, state=self._state(delay.state)) for delay in commit.delays),
            data=tuple(evolve(one, blob=self._blob(one.blob)) for one in commit.data),
            journal=self._rows(commit.journal),
            schedule=self._schedule(commit.schedule),
            edit=self._edit(commit.edit),
        )

    def posted(self, commit: Commit) -> Commit:
        """The stored form of what is posted; with the forms that its digest has under other keys, as no key is at hand when it is applied."""
        digests = [write.created.input_hash for write in commit.writes if write.created is not None]
        same = tuple(
            form
            for one in digests
            if one and ":" not in one
            for stage in self._stages.values()
            for form in stage.hashes(one)
        )
        return whole(self.sealed(commit))._replace(same=same)

    def record(self, record: Record) -> Record:
        """A record as it was given; if something of it cannot be opened, nothing is: the run is blocked."""
        exchange, events = self.open(record.exchange), tuple(map(self._opened_event, record.events))
        state = self._opened_state(record.state)
        if state.transition.annotations.get(RESOLVED, "")[:1] == SEALED:
            notes = {name: note for name, note in state.transition.annotations.items() if name != RESOLVED}
            state, exchange = state._replace(transition=Transition(state.transition.to, notes)), f"{SEALED}1"
        if any(event.payload[:1] == SEALED for event in events):
            exchange = f"{SEALED}1"
        row = record.row
        if row is not None and row.blocked:
            row = row._replace(blocked=self._opened_blocked(row.blocked))
        delay = None if record.delay is None else self.opened(record.delay)
        return record._replace(state=state, exchange=exchange, events=events, row=row, delay=delay)

    def schedule(self, row: ScheduleRow) -> ScheduleRow:
        """A schedule as it was given, but for what cannot be opened; a damaged one as it is stored: who reads its record is told."""
        try:
            return row._replace(body=each_value(each_part(row.body, self.open), self.open))
        except DAMAGED:
            return row

    def seal_blocked(self, text: str) -> str:
        """Why a run is blocked: the text may quote a value, but for the kind of the reason in front. Never fails."""
        if not self._secret or not text:
            return text
        kind = _KIND.match(text)
        begin = 0 if kind is None else kind.end()
        try:
            return text[:begin] + self.seal(text[begin:], "surrogatepass")
        except Exception as error:  # noqa: BLE001 - of a stage: the run is released all the same, else its worker claims nothing
            log.warning("why a run is blocked cannot be stored, a payload stage failed: %r", error)
            return text[:begin] + UNKEPT

    def _opened_blocked(self, text: str) -> str:
        begin = text.find(SEALED)
        found = self.open(text[begin:]) if begin >= 0 else ""
        return text if begin < 0 else text[:begin] + (UNREADABLE if found[:1] == SEALED else found)

    def opened(self, found: Any) -> Any:
        """One element of the answer to a query, as it was given."""
        match found:
            case Record():
                return self.record(found)
            case Revision():
                return Revision(self._opened_state(found.state), self.open(found.exchange))
            case ScheduleRow():
                return self.schedule(found)
            case Delay():
                return evolve(found, state=self._opened_state(found.state))
            case StoredData():
                return evolve(found, blob=self._opened_blob(found.blob))
            case tuple() if found and isinstance(found[0], JournalRow):
                return tuple(row._replace(text=self.open(row.text)) for row in found)
            case tuple() if found and isinstance(found[0], State):
                return tuple(map(self._opened_state, found))
        return found

    def _packed(self, data: bytes) -> tuple[str, bytes]:
        tags = []
        for tag, stage in self._stages.items():
            packed = stage.pack(data)
            if packed is not None:
                tags.append(tag)
                data = packed
        return ",".join(tags), data

    def _unpacked(self, tags: str, data: bytes) -> bytes:
        for tag in reversed(tags.split(",") if tags else ()):
            data = self._stages[tag].unpack(data)
        return data

    def _step(self, step: Step) -> Step:
        exchange = None if step.exchange is None else self.seal(step.exchange)
        return Step(
            step.id, step.epoch, step.rev, self._transition(step.transition), step.labels, step.annotations, exchange, step.part,
            step.labels_before,
        )  # fmt: skip

    def _write(self, write: Write) -> Write:
        created: Created | None = write.created
        if created is not None and created.input_hash:
            created = created._replace(input_hash=self.seal_hash(created.input_hash))
        exchange = None if write.exchange is None else self.seal(write.exchange)
        return write._replace(state=self._state(write.state), exchange=exchange, created=created)

    def _rows(self, rows: Sequence[JournalRow]) -> tuple[JournalRow, ...]:
        return tuple(row._replace(text=self.seal(row.text)) for row in rows)

    def _schedule(self, change: ScheduleChange | None) -> ScheduleChange | None:
        if change is None or change.body is None:
            return change
        return change._replace(body=each_value(change.body, self.seal))

    def _edit(self, edit: ScheduleEdit | None) -> ScheduleEdit | None:
        return edit if edit is None or edit.text is None else edit._replace(text=each_value(edit.text, self.seal))

    def _event(self, event: Event) -> Event:
        return evolve(event, payload=self.seal(event.payload))

    def _opened_event(self, event: Event) -> Event:
        return evolve(event, payload=self.open(event.payload))

    def _blob(self, blob: bytes) -> bytes:
        tags, data = self._packed(bytes(blob))
        return BLOB + tags.encode() + b":" + data

    def _opened_blob(self, blob: bytes) -> bytes:
        if not blob.startswith(BLOB):
            return blob
        tags, _colon, data = blob[len(BLOB) :].partition(b":")
        try:
            return self._unpacked(tags.decode(), data)
        except Exception as error:
            raise Unavailable(f"data cannot be opened by payload stages ({tags.decode()}): {error!r}") from error

    def _state(self, state: State) -> State:
        return state._replace(transition=self._transition(state.transition)) if self._secret else state

    def _transition(self, transition: Transition) -> Transition:
        """The type of an error stays readable, its message and traceback do not; nor does a value that settles a call."""
        notes, sealed = transition.annotations, dict[str, str]()
        if self._secret and ERROR in notes:
            raw = json.loads(notes[ERROR])
            text = self.seal(json.dumps([raw.get("message", ""), raw.get("traceback", "")]))
            sealed[ERROR] = json.dumps(raw | {"message": UNREADABLE, "traceback": "", "sealed": text})
        if self._secret and RESOLVED in notes:
            sealed[RESOLVED] = self.seal(notes[RESOLVED])
        return Transition(transition.to, {**notes, **sealed}) if sealed else transition

    def _opened_state(self, state: State) -> State:
        notes, opened = state.transition.annotations, dict[str, str]()
        if '"sealed"' in notes.get(ERROR, ""):
            raw = json.loads(notes[ERROR])
            found = self.open(raw.pop("sealed"))
            if found[:1] != SEALED:
                message, traceback = json.loads(found)
                opened[ERROR] = json.dumps(raw | {"message": message, "traceback": traceback}, ensure_ascii=True)
        if notes.get(RESOLVED, "")[:1] == SEALED:
            opened[RESOLVED] = self.open(notes[RESOLVED])
        return state._replace(transition=Transition(state.transition.to, {**notes, **opened})) if opened else state
