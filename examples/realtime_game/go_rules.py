"""The rules of Go on a board of 9x9 points: captures, suicide, superko and the area score. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

SIZE = 9
COLUMNS = "ABCDEFGHJ"  # Go leaves out the I
EMPTY, BLACK, WHITE = ".", "b", "w"
NEW_BOARD = EMPTY * SIZE**2  # 81 points, from A9 to J9, down to A1 to J1
KOMI = 7.5  # points for White, who plays second


class IllegalMove(ValueError):
    """The rules forbid the move; the message says why, for the player."""


def other(colour: str) -> str:
    """The opponent's colour."""
    return WHITE if colour == BLACK else BLACK


def index_of(point: str) -> int:
    """Where a point, e.g. `D4`, is on the board."""
    column, row = point[:1], point[1:]
    if column not in COLUMNS or not column or row not in tuple("123456789"):
        raise IllegalMove(
            f"{point!r} is no point: write a letter from A to J without I, and a number from 1 to 9, e.g. D4"
        )
    return (SIZE - int(row)) * SIZE + COLUMNS.index(column)


def after(board: str, colour: str, point: str, seen: list[str]) -> tuple[str, int]:
    """The board after a stone was put on a point, and the number of captured stones. `seen` are all earlier boards of the game.

    Raises IllegalMove.
    """
    at = index_of(point)
    if board[at] != EMPTY:
        raise IllegalMove(f"there is a stone on {point}")
    placed = _replace(board, {at}, colour)
    captured: set[int] = set()
    for neighbour in _neighbours(at):
        if placed[neighbour] == other(colour):
            stones, liberties = _group(placed, neighbour)
            captured |= set() if liberties else stones
    placed = _replace(placed, captured, EMPTY)
    if not _group(placed, at)[1]:
        raise IllegalMove(f"a stone on {point} would have no liberty: suicide is forbidden")
    if placed in seen:
        raise IllegalMove(f"ko: a stone on {point} would repeat an earlier board")
    return placed, len(captured)


def area(board: str) -> dict[str, int]:
    """The points of each colour: its stones, and the empty points that reach stones of this colour alone. All stones count as alive."""
    score = {BLACK: board.count(BLACK), WHITE: board.count(WHITE)}
    known: set[int] = set()
    for at, stone in enumerate(board):
        if stone == EMPTY and at not in known:
            region, border = _group(board, at, edge=(BLACK, WHITE))
            known |= region
            colours = {board[point] for point in border}
            if len(colours) == 1:
                score[colours.pop()] += len(region)
    return score


def winner(board: str) -> str:
    """Who has won by how much, e.g. `B+3.5`. There is no draw, because the komi is no whole number."""
    score = area(board)
    lead = score[BLACK] - score[WHITE] - KOMI
    return f"{'B' if lead > 0 else 'W'}+{abs(lead)}"


def _group(board: str, at: int, edge: tuple[str, ...] = (EMPTY,)) -> tuple[set[int], set[int]]:
    """The connected points of one kind around `at`, and the points beside them that are of the kinds `edge`: its liberties."""
    group, border, open_ = {at}, set[int](), [at]
    while open_:
        for neighbour in _neighbours(open_.pop()):
            if board[neighbour] == board[at] and neighbour not in group:
                group.add(neighbour)
                open_.append(neighbour)
            elif board[neighbour] in edge:
                border.add(neighbour)
    return group, border


def _neighbours(at: int) -> Iterator[int]:
    row, column = divmod(at, SIZE)
    if row:
        yield at - SIZE
    if row < SIZE - 1:
        yield at + SIZE
    if column:
        yield at - 1
    if column < SIZE - 1:
        yield at + 1


def _replace(board: str, points: set[int], kind: str) -> str:
    return "".join(kind if at in points else stone for at, stone in enumerate(board))
