"""Two players in two tabs of a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.ui.browser import CallableHere, expect, inaccessible

COUNT_TIMERS = """
window.timers = 0;
for (const name of ["setTimeout", "setInterval", "requestAnimationFrame", "requestIdleCallback"]) {
  const real = window[name];
  window[name] = (...given) => { window.timers++; return real(...given); };
}
"""


class Tab:
    """What one player sees and does."""

    def __init__(self, page: CallableHere, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("request", lambda one: self.requests.append(f"{one.method} {one.url.rpartition('/')[2]}"))
        self.page.add_init_script(COUNT_TIMERS)
        self.page.goto(url)

    def hops(self) -> tuple[list[str], int]:
        """The requests that the page made, and the timers that it set, since the last time."""
        requests, self.requests = self.requests, []
        return requests, self.page.evaluate("() => { const set = timers; timers = 0; return set; }")

    def point(self, at: str, stone: str = "") -> None:
        """Wait until the stone on a point is this one."""
        expect(self.page.locator(f'[data-at="{at}"]')).to_have_attribute("aria-label", f"{at}, {stone or 'empty'}")

    def click(self, at: str) -> None:
        self.page.locator(f'[data-at="{at}"]').click()

    def status(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_role("status")).to_have_text(text)

    def trouble(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_role("alert")).to_have_text(text)

    def moves(self, *moves: str) -> None:
        expect(self.page.locator("#moves li")).to_have_text(list(moves))


@pytest.fixture
def tab(profile) -> Iterator[Callable[[str], Tab]]:
    """Opens a page in a new tab: what a player may do is in its address alone."""
    opened = []

    def opens(url: str) -> Tab:
        opened.append(Tab(profile.new_page(), url))
        return opened[-1]

    yield opens
    for one in opened:
        one.page.close()


@pytest.fixture
def tabs(tab, server) -> tuple[Tab, Tab]:
    """The pages of Black and White in a new game: Black makes it, White opens the link."""
    black = tab(f"{server.url}/")
    black.page.get_by_role("button", name="New game").click()
    black.status("Your turn, Black.")
    white = tab(black.page.get_by_label("Link for the other player").input_value())
    white.status("Black to move; you are White.")
    return black, white


def test_a_game_that_survives_a_kill_of_the_server(server, tab, tabs):
    black, white = tabs
    black.click("B9")
    white.status("Black: B9. Your turn, White.")
    white.click("A9")
    black.point("A9", "White")

    server.kill()
    black.click("A8")
    black.trouble("The server does not answer. Trying again …")
    white.trouble("The server does not answer. Trying again …")
    black.point("A8")  # nothing is shown that is not durable
    server.start()
    for player in (black, white):  # the move was sent again, and White's stone is captured
        player.point("A8", "Black")
        player.point("A9")
        player.moves("Black B9", "White A9", "Black A8")
        player.trouble("")
        expect(player.page.locator("#captured-b")).to_have_text("1")
        lost = [error for error in player.errors if "ERR_" not in error]  # the connections that the kill broke
        assert lost == []
        player.errors.clear()

    white.click("A9")
    white.trouble("a stone on A9 would have no liberty: suicide is forbidden")
    white.page.get_by_role("button", name="Pass").click()
    black.status("White: pass. Your turn, Black.")
    black.page.get_by_role("button", name="Pass").click()
    end = "Black: pass. Black wins by 73.5 points (81 to 0, and the komi)."
    for one in (black, white, tab(white.page.url.partition("#")[0])):
        one.status(end)
        expect(one.page.get_by_role("button", name="Pass")).to_be_disabled()
        assert [error for error in one.errors if "409" not in error] == []  # the suicide
        assert inaccessible(one.page) == []


def test_the_keyboard_alone_is_enough(tabs):
    black, white = tabs
    keys = black.page.keyboard
    keys.press("Tab")  # New game
    keys.press("Tab")  # the link
    keys.press("Tab")
    expect(black.page.locator('[data-at="A9"]')).to_be_focused()
    for key in ("ArrowUp", "ArrowLeft", "ArrowDown", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Enter"):
        keys.press(key)
    white.point("H8", "Black")
    expect(black.page.locator('[data-at="H8"]')).to_be_focused()
    keys.press("Tab")
    expect(black.page.get_by_role("button", name="Pass")).to_be_focused()
    white.click("E5")
    black.status("White: E5. Your turn, Black.")
    keys.press("Tab")
    black.page.on("dialog", lambda dialog: dialog.accept())
    keys.press("Enter")
    white.status("Black: resign. White wins by resignation.")


def test_players_see_each_others_moves_and_guests_only_watch(tab, tabs):
    black, white = tabs
    for one in tabs:
        one.hops()
    for number in range(1, 13):
        mover, other = (black, white) if number % 2 else (white, black)
        at = f"{'ABCDEFGHJ'[(number - 1) % 9]}{9 - 2 * ((number - 1) // 9)}"
        mover.click(at)
        for one in (mover, other):
            expect(one.page.locator("#moves li")).to_have_count(number)
        sent, shown = (
            one.page.evaluate(f"document.body.dataset.{name}") for one, name in ((mover, "sent"), (other, "shown"))
        )
        assert (sent.split()[0], shown.split()[0]) == (str(number), str(number))
        assert mover.hops() == (["POST moves"], 0)  # one request, and the answer decides nothing
        assert other.hops() == ([], 0)  # it was told over the stream that it has open
    guest = tab(white.page.url.partition("#")[0])
    guest.status(re.compile("Black to move.$"))
    guest.click("J1")
    guest.trouble(re.compile("^Only the players move"))
    assert black.errors == white.errors == guest.errors == []
    lost = tab(re.sub("games/.*", "games/none", white.page.url))
    lost.trouble("There is no such game. Begin a new one.")
