"""The rules of Go: captures, suicide, ko and superko, the end of a game and its score."""

from __future__ import annotations

import pytest
from go_flow import MAX_MOVES, Game, Move
from go_rules import BLACK, EMPTY, NEW_BOARD, SIZE, WHITE, IllegalMove, after, area, index_of, winner
from hypothesis import given
from hypothesis import strategies as st

POINTS = [f"{column}{row}" for row in range(SIZE, 0, -1) for column in "ABCDEFGHJ"]


def board(*rows: str) -> str:
    """A board that has these rows at its top."""
    return "".join(row.ljust(SIZE, EMPTY) for row in rows).ljust(SIZE**2, EMPTY)


def game_of(*moves: str) -> Game:
    """A game after these moves, Black's first."""
    game = Game({})
    for number, at in enumerate(moves, 1):
        game.play(Move(str(number), number, game.turn, at))
    return game


def test_points_are_named_from_the_lower_left_corner_without_an_i():
    assert [index_of(point) for point in POINTS] == list(range(SIZE**2))
    for wrong in ("", "I5", "A0", "A10", "5A", "d4", "A"):
        with pytest.raises(IllegalMove, match="is no point"):
            index_of(wrong)


def test_a_stone_takes_all_groups_that_have_no_liberty_left():
    before = board("wb.bw", "wb.bw", "bwbwb", ".b.b.")
    full = board("wbwbw", "wb.bw", "bwbwb", ".b.b.")
    assert after(before, WHITE, "C9", []) == (full, 0)
    corner = board("wb", "w", "b")
    assert after(corner, BLACK, "B8", []) == (board(".b", ".b", "b"), 2)
    two = board("bw.wb", ".b.b.")
    assert after(two, BLACK, "C9", []) == (board("b.b.b", ".b.b."), 2)


def test_a_stone_without_a_liberty_is_refused_unless_it_captures():
    eye = board(".b", "b")
    with pytest.raises(IllegalMove, match="suicide"):
        after(eye, WHITE, "A9", [])
    with pytest.raises(IllegalMove, match="suicide"):  # of a group
        after(board(".wb", "bb"), WHITE, "A9", [])
    assert after(board(".bw", "bw", "w"), WHITE, "A9", [])[1] == 2
    with pytest.raises(IllegalMove, match="there is a stone on B9"):
        after(eye, WHITE, "B9", [])


def ko() -> Game:
    """Black may capture at C8, White may not take back at once."""
    game = game_of("C9", "D9", "B8", "E8", "C7", "D7", "A1", "C8")
    assert game.board[index_of("C8")] == WHITE
    game.play(Move("k", 9, BLACK, "D8"))
    assert (game.board[index_of("C8")], game.captured) == (EMPTY, {BLACK: 1, WHITE: 0})
    return game


def test_a_ko_is_taken_back_only_after_another_move():
    game = ko()
    with pytest.raises(IllegalMove, match="ko: a stone on C8 would repeat an earlier board"):
        game.play(Move("w", 10, WHITE, "C8"))
    game.play(Move("w", 10, WHITE, "J1"))
    game.play(Move("b", 11, BLACK, "J9"))
    game.play(Move("x", 12, WHITE, "C8"))
    assert game.captured == {BLACK: 1, WHITE: 1}


def test_a_board_never_comes_twice_however_long_the_cycle_is():
    """Passes between the captures do not lift the ko."""
    game = ko()
    game.play(Move("w", 10, WHITE, "pass"))
    game.play(Move("b", 11, BLACK, "A2"))
    game.play(Move("x", 12, WHITE, "C8"))
    game.play(Move("y", 13, BLACK, "pass"))
    assert game.result == ""
    with pytest.raises(IllegalMove, match="ko"):
        after(game.board, BLACK, "D8", game.seen)


def test_the_area_is_stones_and_points_that_reach_one_colour_alone():
    assert area(NEW_BOARD) == {BLACK: 0, WHITE: 0}
    assert area(board("...b")) == {BLACK: 81, WHITE: 0}
    wall = "".join("....b.w.." for _ in range(SIZE))  # the column between the walls belongs to none
    assert area(wall) == {BLACK: 45, WHITE: 27}
    assert winner(wall) == "B+10.5"
    assert winner(NEW_BOARD) == "W+7.5"


def test_two_passes_end_the_game_and_one_does_not():
    game = game_of("D4", "pass", "E5", "pass")
    assert game.result == ""
    game.play(Move("p", 5, BLACK, "pass"))
    assert game.result == "B+73.5"
    with pytest.raises(IllegalMove, match=r"the game is over: B\+73.5"):
        game.play(Move("q", 6, WHITE, "A1"))


def test_a_player_resigns_at_any_time():
    game = game_of("D4")
    game.play(Move("r", 1, BLACK, "resign"))
    assert game.result == "W+R"


@pytest.mark.parametrize(
    ("number", "colour", "why"),
    [(2, BLACK, "the other player's turn"), (1, WHITE, "the board has changed"), (3, WHITE, "the board has changed")],
)
def test_moves_that_come_too_late_or_too_early(number, colour, why):
    game = game_of("D4")
    before = game.board
    with pytest.raises(IllegalMove, match=why):
        game.play(Move("m", number, colour, "E5"))
    assert (game.board, len(game.moves)) == (before, 1)


def test_a_game_has_an_end():
    game = Game({}, moves=[Move(str(n), n, BLACK if n % 2 else WHITE, "J9") for n in range(1, MAX_MOVES)])
    game.play(Move("last", MAX_MOVES, WHITE, "A1"))
    assert game.result == "W+88.5"


@given(st.lists(st.sampled_from([*POINTS, "pass"]), max_size=120))
def test_whatever_is_played_every_group_has_a_liberty_and_no_board_comes_twice(wishes):
    game = Game({})
    for number, at in enumerate(wishes):
        try:
            game.play(Move(str(number), len(game.moves) + 1, game.turn, at))
        except IllegalMove:
            continue
    assert len(set(game.seen)) == len(game.seen)
    for at, stone in enumerate(game.board):
        assert stone == EMPTY or reaches_an_empty_point(game.board, at)
    stones = sum(made.at != "pass" for made in game.moves)
    assert stones == sum(game.captured.values()) + len(game.board.replace(EMPTY, ""))
    assert sum(area(game.board).values()) <= SIZE**2


def reaches_an_empty_point(stones: str, start: int) -> bool:
    """Written in another way than the rules: by rows and columns, with complex numbers as points."""
    points = {complex(at % SIZE, at // SIZE): stone for at, stone in enumerate(stones)}
    first = complex(start % SIZE, start // SIZE)
    known, open_ = {first}, [first]
    while open_:
        point = open_.pop()
        for step in (1, -1, 1j, -1j):
            stone = points.get(point + step)
            if stone == EMPTY:
                return True
            if stone == points[first] and point + step not in known:
                known.add(point + step)
                open_.append(point + step)
    return False
