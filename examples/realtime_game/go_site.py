"""The web part: a page, three addresses, and a stream of boards. It keeps nothing itself: the runs of the games have everything."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from go_flow import MOVE, Game, Move, game_flow
from go_rules import BLACK, WHITE, IllegalMove, area
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepflow import AsyncEngine, AsyncRun, NotFound, RunEnded, Stopping

FILES = Path(__file__).parent / "static"
MAX_BODY = 1000  # bytes
SILENCE_S = 15.0  # then a comment is sent, so that proxies keep the stream open
RECONNECT_MS = 200  # how long a page waits before it opens its stream again


def site(store: str) -> Starlette:
    """The application; its one engine starts the games, publishes the moves, watches, and advances the runs."""
    engine = AsyncEngine(store)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with engine:
            engine.register(game_flow)
            async with engine.worker():
                yield

    async def page(_request: Request) -> Response:
        return FileResponse(FILES / "game.html")

    async def create(_request: Request) -> Response:
        keys = {colour: secrets.token_urlsafe(16) for colour in (BLACK, WHITE)}
        game, run_id = Game({colour: digest(key) for colour, key in keys.items()}), secrets.token_hex(6)
        await engine.start(game_flow, game, id=run_id, labels={"game": run_id})
        return JSONResponse({"game": run_id, "keys": keys}, 201)

    async def move(request: Request) -> Response:
        run, game = await found(engine, request)
        made = read_move(await body_of(request), colour_of(game, request))
        if not game.knows(made):  # a move that is sent again was accepted before
            try:
                game.play(made)
                await run.publish(MOVE, made, id=made.id)
            except (IllegalMove, RunEnded) as error:
                raise HTTPException(409, str(error)) from None
        return JSONResponse({}, 202)

    async def boards(request: Request) -> Response:
        run, _game = await found(engine, request)
        headers = {"Cache-Control": "no-store"}
        return StreamingResponse(stream(engine, run), media_type="text/event-stream", headers=headers)

    routes = [
        Route("/", page),
        Route("/games/{game}", page),
        Route("/games", create, methods=["POST"]),
        Route("/games/{game}/moves", move, methods=["POST"]),
        Route("/games/{game}/boards", boards),
        Mount("/static", StaticFiles(directory=FILES)),
    ]
    handlers = {HTTPException: refused}
    return Starlette(
        routes=routes, lifespan=lifespan, exception_handlers=handlers, middleware=[Middleware(OwnFilesOnly)]
    )


async def stream(engine: AsyncEngine, run: AsyncRun[Game]) -> AsyncIterator[str]:
    """The board as it is, then each new one, as server-sent events. A page that connects again misses nothing that counts."""
    yield f"retry: {RECONNECT_MS}\n\n"
    watch, sent = engine.watch({"game": run.id}, since="latest"), -1
    try:
        while True:
            if await watch.next(SILENCE_S) is None:
                yield ": still here\n\n"
                continue
            game = await run.exchange()
            if len(game.moves) != sent:
                sent = len(game.moves)
                yield f"data: {json.dumps(view(game))}\n\n"
            if game.result:
                return
    except Stopping:
        return  # the server is being stopped; the page connects to the next one


def view(game: Game) -> dict[str, object]:
    """What a page shows of a game: everything but the keys."""
    return {
        "board": game.board,
        "turn": game.turn,
        "captured": {colour: game.captured.get(colour, 0) for colour in (BLACK, WHITE)},
        "moves": [{"colour": made.colour, "at": made.at} for made in game.moves],
        "result": game.result,
        "area": area(game.board) if game.result else None,
    }


async def found(engine: AsyncEngine, request: Request) -> tuple[AsyncRun[Game], Game]:
    """The run that the address names, and its game."""
    run = engine.get(game_flow, request.path_params["game"])
    try:
        return run, await run.exchange()
    except NotFound:
        raise HTTPException(404, "there is no such game: begin a new one") from None


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def colour_of(game: Game, request: Request) -> str:
    """The colour of the player whose secret the request carries."""
    given = digest(request.headers.get("authorization", "").removeprefix("Bearer "))
    for colour, key in game.keys.items():
        if secrets.compare_digest(given, key):
            return colour
    raise HTTPException(403, "only the players move: open the page with the link of a player")


async def body_of(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"a move has at most {MAX_BODY} bytes")
    return body


def read_move(body: bytes, colour: str) -> Move:
    """The move that a page sent."""
    try:
        match json.loads(body):
            case {"id": str(name), "number": int(number), "at": str(at)} if 8 <= len(name) <= 64:
                return Move(name, number, colour, at)
            case _:
                pass
    except ValueError:
        pass
    raise HTTPException(
        400, 'send {"id": TEXT OF 8 TO 64 CHARACTERS, "number": NUMBER OF THE MOVE, "at": "D4" OR "pass" OR "resign"}'
    )


async def refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


class OwnFilesOnly:
    """Tells the browser to run and load nothing but the files of this server."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", b"default-src 'self'; frame-ancestors 'none'"),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        await self._app(scope, receive, guarded)
