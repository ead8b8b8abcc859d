"""Live pages: a stream of server-sent events per open page, with its text whenever that has changed.

A page is rendered at most once per second, however many runs change meanwhile, and less often if it takes long.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from stepflow.server.change_signal import ChangeSignal

PERIOD_S = 1.0  # between the beginnings of two updates of a page
REST = 4.0  # times what an update took: the pause after it, so that many pages leave the store to others
POLL_S = 5.0  # a page without news is rendered after so long: runs become due, and a notice may be lost


async def updates(
    render: Callable[[], Awaitable[str]],
    signal: ChangeSignal,
    monotonic: Callable[[], float],
    pause: Callable[[float], Awaitable[bool]],
) -> AsyncIterator[str]:
    """The events of one page: its text at first and after each change, until `pause`, which takes seconds, answers False."""
    sent, goes_on = "", True
    while goes_on:
        seen, begun = signal.version, monotonic()
        text = await render()
        yield ": as before\n\n" if text == sent else event(text)
        sent = text
        goes_on = await pause(max(PERIOD_S, REST * (monotonic() - begun)))
        await signal.wait(seen, POLL_S if goes_on else 0.0)


def event(text: str) -> str:
    """A server-sent event without a name, which htmx puts into the page."""
    return "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
