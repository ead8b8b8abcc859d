"""One game is one run: it waits for the moves as events until two passes or a resignation end it."""

from __future__ import annotations

from attrs import define, field, frozen
from go_rules import BLACK, NEW_BOARD, IllegalMove, after, other, winner

from stepflow import Steps, named

MOVE = "go.move"  # the event
PASS, RESIGN = "pass", "resign"
MAX_MOVES = 600  # far beyond any game of 9x9; without a bound two players could fill the store


@frozen
class Move:
    """What a player wants to do as move `number` of the game: a point, `pass` or `resign`. `id` is the same when it is sent again."""

    id: str
    number: int
    colour: str
    at: str


@define
class Game:
    """The whole state of a game. The run stores it with every move, so any process can go on with it."""

    keys: dict[str, str]  # colour -> SHA-256 of the secret of its player
    board: str = NEW_BOARD
    captured: dict[str, int] = field(factory=dict[str, int])  # colour -> stones that this player captured
    moves: list[Move] = field(factory=list[Move])
    seen: list[str] = field(factory=lambda: [NEW_BOARD])  # all boards of the game: none may come twice
    result: str = ""  # "B+3.5", "W+R"; empty while the game goes on

    @property
    def turn(self) -> str:
        """The colour that moves next."""
        return other(self.moves[-1].colour) if self.moves else BLACK

    def knows(self, move: Move) -> bool:
        """Whether this move was made: the one that is sent again needs no second place in the game."""
        return any(move.id == made.id for made in self.moves)

    def play(self, move: Move) -> None:
        """Make a move. Raises IllegalMove, and changes nothing then."""
        if self.result:
            raise IllegalMove(f"the game is over: {self.result}")
        if move.at == RESIGN:
            self.result = f"{other(move.colour).upper()}+R"
        elif move.number != len(self.moves) + 1 or move.colour != self.turn:
            raise IllegalMove("it is the other player's turn" if move.colour != self.turn else "the board has changed")
        elif move.at != PASS:
            self.board, captured = after(self.board, move.colour, move.at, self.seen)
            self.seen.append(self.board)
            self.captured[move.colour] = self.captured.get(move.colour, 0) + captured
        self.moves.append(move)
        if not self.result and ([m.at for m in self.moves[-2:]] == [PASS, PASS] or len(self.moves) == MAX_MOVES):
            self.result = winner(self.board)


def make_move(game: Game, move: Move) -> None:
    """Make a move that was published. One that another move has overtaken is dropped: the page shows the board as it is."""
    try:
        if not game.knows(move):
            game.play(move)
    except IllegalMove:
        return


def is_over(game: Game) -> bool:
    return bool(game.result)


one_move = Steps[Game]().wait_event("move", MOVE, Move, make_move)
game_flow = named("go/v1", Game).loop_until("game", is_over, one_move).compile()
