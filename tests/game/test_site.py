"""The addresses of the game, over a real socket, and what a SIGKILL of the server leaves."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from attrs import evolve, frozen

from tests.game.served import Server
from tests.ports import free_port

LIMIT_S = 60


@frozen
class Table:
    """One game on a server, with the secrets of both players."""

    url: str
    game: str
    keys: dict[str, str]

    def move(self, number: int, at: Any, colour: str | None = None, name: str | None = None) -> httpx2.Response:
        key = self.keys[colour or ("b" if number % 2 else "w")]
        body = {"id": name or f"move-number-{number}", "number": number, "at": at}
        return self.post(json.dumps(body), key)

    def post(self, content: str, key: str) -> httpx2.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx2.post(f"{self.url}/games/{self.game}/moves", content=content, headers=headers, timeout=LIMIT_S)

    def after(self, moves: int) -> dict[str, Any]:
        """The first board of the stream that has this number of moves."""
        with httpx2.stream("GET", f"{self.url}/games/{self.game}/boards", timeout=LIMIT_S) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: ") and len(json.loads(line[6:])["moves"]) >= moves:
                    return json.loads(line[6:])
        raise AssertionError("the stream ended")


@pytest.fixture
def table(server) -> Table:
    made = httpx2.post(f"{server.url}/games", timeout=LIMIT_S)
    assert made.status_code == 201
    return Table(server.url, **made.json())


def test_moves_that_were_accepted_survive_a_kill_and_games_go_on(server, table):
    assert table.move(1, "D4").status_code == 202
    server.kill()  # the answer has come: the move is durable, whether it was made or not
    server.start()
    assert [m["at"] for m in table.after(1)["moves"]] == ["D4"]
    assert table.move(1, "D4").status_code == 202  # a page that got no answer sends it again
    assert table.move(2, "E5").status_code == 202
    assert [m["at"] for m in table.after(2)["moves"]] == ["D4", "E5"]


def test_the_players_may_use_different_servers_of_one_store(server, table):
    second = Server(server.folder, free_port())
    second.start()
    try:
        white = evolve(table, url=second.url)
        for number, player in enumerate((table, white, table, white), 1):
            assert player.move(number, f"{'ABCD'[number - 1]}1").status_code == 202
            for shown in (table, white):
                assert len(shown.after(number)["moves"]) == number
        server.kill()  # the runs of its games go on in the other one
        assert white.move(5, "E1").status_code == 202
        assert white.after(5)["turn"] == "w"
        server.start()
        assert table.after(5)["turn"] == "w"
    finally:
        second.kill()


def test_a_whole_game(table):
    for number, at in enumerate(("D4", "pass", "E5", "pass", "pass"), 1):
        assert table.move(number, at).status_code == 202
        table.after(number)
    board = table.after(5)
    assert (board["result"], board["area"]) == ("B+73.5", {"b": 81, "w": 0})
    assert table.move(6, "A1").json() == {"error": "the game is over: B+73.5"}


WRONG = {
    "not your turn": ((1, "D4", "w"), 409, "it is the other player's turn"),
    "another board": ((2, "D4", "b"), 409, "the board has changed"),
    "no point": ((1, "I9"), 409, "'I9' is no point"),
    "no text": ((1, 7), 400, "send {"),
    "a short id": ((1, "D4", "b", "x"), 400, "8 TO 64 CHARACTERS"),
    "a large body": ((1, "D" * 1000), 413, "at most 1000 bytes"),
}


@pytest.mark.parametrize(("move", "status", "text"), WRONG.values(), ids=WRONG)
def test_moves_that_are_refused(table, move, status, text):
    answer = table.move(*move)
    assert (answer.status_code, text in answer.json()["error"]) == (status, True), answer.text
    assert table.after(0)["moves"] == []


def test_only_the_players_move_and_no_answer_has_their_keys(table):
    for key in ("x", table.keys["b"][:-1], table.keys["b"] + "x"):
        assert table.post("{}", key).status_code == 403
    assert table.post("no json", table.keys["b"]).status_code == 400
    shown = json.dumps(table.after(0))
    assert not any(key in shown for key in table.keys.values())


def test_other_addresses(server):
    assert (
        httpx2.get(f"{server.url}/games/none/boards", timeout=LIMIT_S)
        .json()["error"]
        .startswith("there is no such game")
    )
    page = httpx2.get(f"{server.url}/games/none", timeout=LIMIT_S)
    assert (page.status_code, page.headers["content-security-policy"][:18]) == (200, "default-src 'self'")
    assert httpx2.get(f"{server.url}/static/../go_flow.py", timeout=LIMIT_S).status_code == 404
