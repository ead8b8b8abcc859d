"""Keys: encodes texts and numbers as bytes that sort in the same order; every key starts with its shard."""

from __future__ import annotations

import struct

from stepflow.model.cache import BoundedCache, size_of_texts
from stepflow.model.shard import shard_of

BIAS = 1 << 63
_eight = struct.Struct(">Q")
END = b"\0\1"  # of a text
NUMBER = 8  # bytes
META = b"\xff"  # no UTF-8 text starts with this byte, so no shard does
FORMAT_KEY = META + b"format"
HEAD_KEY = META + b"head"

Change = dict[bytes, bytes | None]
"""Keys and their new values; None deletes."""


def text(value: str) -> bytes:
    """A text of any characters with an end mark, so that another part can follow; sorts by code points."""
    return value.encode("utf-8", "surrogatepass").replace(b"\0", b"\0\xff") + END


def number(value: int) -> bytes:
    """A signed 64-bit number. Raises OverflowError, as other stores do, if it has more bits."""
    try:
        return _eight.pack(value + BIAS)
    except struct.error:
        raise OverflowError(f"{value} does not fit 64 bits") from None


def read_text(key: bytes, start: int) -> tuple[str, int]:
    """The text at `start` of a key, and the start of the next part."""
    end = key.index(END, start)
    return key[start:end].replace(b"\0\xff", b"\0").decode("utf-8", "surrogatepass"), end + 2


def read_number(key: bytes, start: int) -> int:
    """The number at `start` of a key."""
    value: int = _eight.unpack_from(key, start)[0]
    return value - BIAS


def after(prefix: bytes) -> bytes:
    """The first key that sorts after all keys with this prefix."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,))


KNOWN = 1024  # prefixes of each kind that are cached


class Keys:
    """The tables of one namespace: `shard, kind, parts…`; the kinds are one letter each."""

    def __init__(self, namespace: str) -> None:
        self.shard = shard = text(shard_of(namespace, "", 1))
        self.runs = shard + b"h"  # id -> the fixed fields of a run
        self.history = shard + b"y"  # id, rev -> the State of that revision
        self.revs = shard + b"r"  # rev -> committed_at, ids of it and of those behind it
        self.tagged = shard + b"k"  # label, value, rev
        self.queue = shard + b"q"  # queue key -> its row
        self.partitions = (
            shard + b"l"
        )  # flow, kind (a letter and a text), priority, due, queue key: rows without an owner
        self.held = shard + b"o"  # owner, queue key
        self.ages = shard + b"i"  # group, flow, created at, id: every run once
        self.labels = shard + b"b"  # label, value, created at, id
        self.ended = shard + b"z"  # committed at, id: runs that may be pruned
        self.events = shard + b"e"  # id, seq -> an event that was not received yet
        self.published = shard + b"u"  # id, publish id, name of the event
        self.owners = shard + b"w"  # owner
        self.counts = shard + b"c"  # group, flow -> how many runs
        self.delays = shard + b"d"  # id, offset -> a delay
        self.dues = shard + b"f"  # fired or not, due, offset, id: every delay by time
        self.data = shard + b"t"  # data revision -> a blob
        self.blobs = shard + b"g"  # id, data revision
        self.begun = shard + b"a"  # key of a limit, start time of a run, its id
        self.dedup = shard + b"p"  # deduplication key -> the run that was started with it
        self.journal = shard + b"j"  # queue key, key of the row -> a journal row
        self.pruned = shard + b"m"  # id -> what stands for its pruned run, while the id is refused
        self.kept = shard + b"s"  # until when, id: every such id once
        self.schedules = shard + b"v"  # id -> a schedule
        self.ticks = shard + b"x"  # due, id: every schedule at which a worker shall look
        self.paused_flows = shard + b"Q"  # flow -> since when it is paused
        self.numbers = shard + b"n"  # the last delay offset and data revision
        self._groups = BoundedCache[tuple[str, str], bytes](
            lambda key: self.ages + text(key[0]) + text(key[1]), lambda key, prefix: size_of_texts(prefix, *key), KNOWN
        )
        self._partitions = BoundedCache[tuple[str, bytes, str, int], bytes](
            lambda key: self.partitions + text(key[0]) + key[1] + text(key[2]) + number(key[3]),
            lambda key, prefix: size_of_texts(prefix, *key[:3]),
            KNOWN,
        )
        self._owned = BoundedCache[str, bytes](lambda owner: self.held + text(owner), size_of_texts, KNOWN)

    def group(self, group: str, flow: str) -> bytes:
        """The prefix of the runs of a group and creating flow, by age."""
        return self._groups[group, flow]

    def partition(self, flow: str, letter: bytes, told: str, priority: int) -> bytes:
        """The prefix of a partition."""
        return self._partitions[flow, letter, told, priority]

    def owned(self, owner: str) -> bytes:
        """The prefix of the rows of an owner."""
        return self._owned[owner]


def indexed_id(keys: Keys, key: bytes) -> str:
    """The id of the run of a key under `ages`, `labels` or `ended`."""
    at = len(keys.ages)  # all kinds are one letter
    if not key.startswith(keys.ended):
        at = read_text(key, read_text(key, at)[1])[1]
    return read_text(key, at + NUMBER)[0]


def queued_key(keys: Keys, key: bytes) -> str:
    """The queue key of a key under `held` or `partitions`."""
    _first, at = read_text(key, len(keys.held))
    if key.startswith(keys.partitions):
        at = read_text(key, at + 1)[1] + 2 * NUMBER
    return read_text(key, at)[0]
