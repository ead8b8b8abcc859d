"""Names of a chain's steps: what its kinds append to them, and which step a user means by a name, alone or behind those of groups, or by a path."""

from __future__ import annotations

from collections.abc import Iterable

CASE = "Case"
LOOP_UNTIL = "LoopUntil"
RETRY = "Retry"
WAIT_EVENT = "WaitEvent"
WAIT_FOR = "WaitFor"
BODY = "steps"  # a part of the path of what is in a case or a loop
_SUFFIXES = (CASE, LOOP_UNTIL, RETRY, WAIT_EVENT, WAIT_FOR)


def is_body(path: str) -> bool:
    """Whether this is the path of what is in a case or a loop, which has no name of its own."""
    return path.endswith((f"{CASE}/{BODY}", f"{LOOP_UNTIL}/{BODY}"))


def loops_around(path: str) -> list[str]:
    """The paths of the loops in which the step at this path is, the outermost first."""
    parts = path.split("/")
    ends = [n for n in range(1, len(parts)) if parts[n] == BODY and parts[n - 1].endswith(LOOP_UNTIL)]
    return ["/".join(parts[:n]) for n in ends]


def _given(path: str) -> list[str]:
    """The names that the user gave to the step at this path and to the groups around it."""
    found: list[str] = []
    before = ""
    for part in path.split("/"):
        if not (part == BODY and before.endswith((CASE, LOOP_UNTIL))):
            suffix = next((one for one in _SUFFIXES if part.endswith(one) and part != one), "")
            found.append(part.removesuffix(suffix))
        before = part
    return found


def is_named(path: str, name: str) -> bool:
    """Whether the step at this path may be called by this name: the one that the chain gave it, behind those of groups or alone, or its path."""
    names = _given(name)
    return name != "" and (path == name or _given(path)[-len(names) :] == names)


class StepNames:
    """The steps of one chain by what they may be called; `paths` are with the name of the flow."""

    def __init__(self, flow: str, paths: Iterable[str]) -> None:
        self._prefix = f"{flow}/"
        self._by_name: dict[str, dict[str, None]] = {}
        for path in paths:
            below = path.removeprefix(self._prefix)
            self._by_name.setdefault(_given(below)[-1], {})[below] = None

    def found(self, name: str) -> list[str]:
        """The paths, below the flow, of the steps that are meant: of one whose path this is, else of all that may be called so."""
        ends_so = list(self._by_name.get(_given(name)[-1], ()))
        if exact := [path for path in ends_so if name in (path, f"{self._prefix}{path}")]:
            return exact[:1]
        short = name.removeprefix(self._prefix)
        meant = name if any(is_named(path, name) for path in ends_so) else short
        named = [path for path in ends_so if is_named(path, meant)]
        return [path for path in named if path.endswith(f"/{meant}")] or named

    def known(self) -> list[str]:
        """All names and paths, to suggest one of them."""
        return [*self._by_name, *(path for paths in self._by_name.values() for path in paths)]
