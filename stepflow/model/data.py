"""Data: a blob that belongs to a State, immutable once stored."""

from __future__ import annotations

from attrs import Factory, define

from stepflow.errors import StepflowError

ALIAS_PREFIX = "flowstate.data."  # state annotation: the data revision of an alias
CHECKSUM = "checksum/xxhash64"
BINARY = "binary"


@define
class Data:
    """A working copy of a blob: change `blob` and store it again to make another revision; `rev` 0 is not stored yet.

    `binary` tells readers that the bytes are not text.
    """

    blob: bytes = b""
    rev: int = 0
    annotations: dict[str, str] = Factory(dict)

    @property
    def binary(self) -> bool:
        """Whether the blob is marked as not being text."""
        return self.annotations.get(BINARY) == "true"

    def text(self) -> str:
        """The blob as UTF-8 text."""
        return self.blob.decode()

    def dirty(self, checksum: str) -> bool:
        """Whether the blob, with this checksum, differs from the stored one."""
        if not self.rev:
            return True
        stored = self.annotations.get(CHECKSUM)
        return stored is not None and stored != checksum


def data_rev(annotations: dict[str, str], alias: str) -> int:
    """The data revision that a State refers to by this alias; StepflowError if there is none."""
    if not alias:
        raise StepflowError("alias is empty: give the name under which the data is known to the State")
    text = annotations.get(ALIAS_PREFIX + alias, "")
    if not text:
        raise StepflowError(f'annotation "{ALIAS_PREFIX}{alias}" is not set: store data under this alias first')
    if not text.isdecimal() or int(text) < 1:
        raise StepflowError(f'annotation "{ALIAS_PREFIX}{alias}" contains invalid data revision {text!r}')
    return int(text)
