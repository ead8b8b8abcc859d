"""The run of a game: moves are events, and whatever happens to the process, each is made once."""

from __future__ import annotations

import pytest
from go_flow import MOVE, Game, Move, game_flow
from go_rules import BLACK, WHITE, index_of

from stepflow import Engine, RunEnded
from stepflow.testing import VirtualClock


def publish(run, number, at, colour=None, name=None):
    colour = colour or (BLACK if number % 2 else WHITE)
    run.publish(MOVE, Move(name or f"move-{number}", number, colour, at), id=name or f"move-{number}")


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path}/go.db"


def test_a_game_from_the_first_move_to_the_score(store):
    with Engine(store, clock=VirtualClock()) as engine:
        engine.register(game_flow)
        run = engine.start(game_flow, Game({}))
        for number, at in enumerate(("D4", "E5", "pass", "pass"), 1):
            publish(run, number, at)
            engine.run_until_idle()
        game = run.result()
        assert ([m.at for m in game.moves], game.result) == (["D4", "E5", "pass", "pass"], "W+7.5")
        with pytest.raises(RunEnded):
            publish(run, 5, "A1")


def test_moves_are_taken_in_order_by_a_process_that_comes_later(store):
    with Engine(store) as engine:
        run = engine.start(game_flow, Game({}), id="g")
        for number, at in enumerate(("D4", "E5", "C3"), 1):
            publish(run, number, at)
    with Engine(store) as engine:
        engine.register(game_flow)
        engine.run_until_idle()
        game = engine.get(game_flow, "g").exchange()
        assert [m.at for m in game.moves] == ["D4", "E5", "C3"]
        assert game.board[index_of("C3")] == BLACK


def test_moves_that_are_too_late_or_sent_again_change_nothing(store):
    with Engine(store, clock=VirtualClock()) as engine:
        engine.register(game_flow)
        run = engine.start(game_flow, Game({}))
        publish(run, 1, "D4")
        publish(run, 1, "D4")  # the same event, stored once
        publish(run, 1, "E5", name="another one for the same turn")
        publish(run, 2, "D4", name="on a stone")
        publish(run, 2, "E5", BLACK, name="of the wrong player")
        publish(run, 2, "C3")
        engine.run_until_idle()
        assert [m.at for m in run.exchange().moves] == ["D4", "C3"]
        assert str(run.status()) == "waiting"
