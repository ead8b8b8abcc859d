"""strategies: Hypothesis strategies for arbitrary step chains."""

from __future__ import annotations

from stepflow.testing.script import Item, Script

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError('stepflow.testing.strategies needs Hypothesis: pip install "stepflow[testing]"') from error

__all__ = ["names", "positions", "scripts"]


def names() -> st.SearchStrategy[str]:
    """Valid names of steps: short ones that often collide, "steps", names that end like a suffix, and arbitrary text."""
    likely = st.sampled_from(["a", "b", "c", "steps", "xCase", "x", "xWaitFor", "start", "completed", "ä b", "0"])
    anything = st.text(
        st.characters(exclude_characters=":/", categories=("L", "M", "N", "P", "S", "Z", "Cc")), min_size=1, max_size=8
    )
    return likely | likely | anything.filter(lambda name: bool(name.strip()))


def scripts(
    *, depth: int = 3, width: int = 4, fails: int = 2, retries: bool = True, sync: bool | None = True
) -> st.SearchStrategy[Script]:
    """Scripts (see `stepflow.testing.script`) that end after a finite number of calls.

    At most `depth` levels of `width` items; functions raise up to `fails` times; `sync=None` mixes sync and async.
    """
    common = {
        "name": names(),
        "fails": st.integers(0, fails),
        "until": st.integers(1, 3),
        "sync": st.booleans() if sync is None else st.just(sync),
    }
    item = st.builds(Item, kind=st.sampled_from(["do", "wait_for"]), **common)
    level = _beside(item, width)
    for _ in range(depth - 1):
        groups = st.builds(Item, kind=st.sampled_from(["steps", "case", "loop_until"]), inner=level, **common)
        if retries:
            answers = st.lists(st.sampled_from(["yes", "no", "raise"]), min_size=1, max_size=3).map(tuple)
            attempts = st.sampled_from([0, 0, 1, 2, 3])
            groups |= st.builds(Item, kind=st.just("retry"), answers=answers, attempts=attempts, inner=level, **common)
        level = _beside(item | groups, width)
    return level


def _beside(item: st.SearchStrategy[Item], width: int) -> st.SearchStrategy[Script]:
    return st.lists(item, max_size=width, unique_by=lambda made: made.scope).map(tuple)


def positions() -> st.SearchStrategy[list[str]]:
    """Lists of strings that look like positions; most do not belong to any flow."""
    event = st.builds("{}:{}".format, st.sampled_from(["start", "completed", "attempt:2", "end", ""]), names())
    return st.lists(event | st.text(max_size=5), max_size=3)
