// Shows one game and sends the player's moves. The server's stream decides what the board is; this page keeps nothing.

const COLUMNS = "ABCDEFGHJ";
const SIZE = 9;
const NAMES = { b: "Black", w: "White" };
const RETRY_MS = 200;
const $ = (id) => document.getElementById(id);

const game = location.pathname.match(/^\/games\/([^/]+)$/)?.[1];
// The secrets are in the part of the address behind #, which no browser sends to a server.
const secrets = new URLSearchParams(location.hash.slice(1));
const colour = secrets.has("b") ? "b" : secrets.has("w") ? "w" : "";
const key = secrets.get(colour) ?? "";

let points = [];
let state = null;

$("new").addEventListener("click", async () => {
  const answer = await fetch("/games", { method: "POST" });
  const { game: made, keys } = await answer.json();
  location.assign(`/games/${made}#b=${keys.b}&invite=${keys.w}`);
});

if (game) {
  draw();
  $("game").hidden = false;
  if (secrets.has("invite")) {
    $("link").value = `${location.origin}/games/${game}#w=${secrets.get("invite")}`;
    $("invite").hidden = false;
  }
  $("pass").addEventListener("click", () => move("pass"));
  $("resign").addEventListener("click", () => confirm("Resign the game?") && move("resign"));
  addEventListener("hashchange", () => location.reload());
  listen();
}

function listen() {
  const source = new EventSource(`/games/${game}/boards`);
  source.addEventListener("open", () => say("trouble", ""));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) say("trouble", "There is no such game. Begin a new one.");
    else say("trouble", "The server does not answer. Trying again …");
  });
  source.addEventListener("message", (event) => {
    show(JSON.parse(event.data));
    if (state.result) source.close();
  });
}

function draw() {
  const marks = [];
  for (let n = 0; n < SIZE; n++) {
    marks.push(shape("line", { x1: 0.5, x2: SIZE - 0.5, y1: n + 0.5, y2: n + 0.5 }));
    marks.push(shape("line", { y1: 0.5, y2: SIZE - 0.5, x1: n + 0.5, x2: n + 0.5 }));
  }
  for (const [x, y] of [[2, 2], [6, 2], [4, 4], [2, 6], [6, 6]]) {
    marks.push(shape("circle", { cx: x + 0.5, cy: y + 0.5, r: 0.1 }));
  }
  for (let n = 0; n < SIZE; n++) {
    marks.push(text(COLUMNS[n], n + 0.5, SIZE - 0.08), text(`${SIZE - n}`, 0.12, n + 0.58));
  }
  $("lines").append(...marks);
  for (let row = 0; row < SIZE; row++) {
    const line = document.createElement("div");
    line.className = "row";
    line.setAttribute("role", "row");
    for (let column = 0; column < SIZE; column++) {
      const point = document.createElement("button");
      point.type = "button";
      point.tabIndex = points.length ? -1 : 0; // one stop of the Tab key, the arrow keys do the rest
      point.setAttribute("role", "gridcell");
      point.dataset.at = `${COLUMNS[column]}${SIZE - row}`;
      point.addEventListener("click", () => { focus(point); move(point.dataset.at); });
      point.addEventListener("keydown", arrow);
      points.push(point);
      line.append(point);
    }
    $("board").append(line);
  }
}

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  return made;
}

function text(letter, x, y) {
  const made = shape("text", { x, y });
  made.textContent = letter;
  return made;
}

function arrow(event) {
  const at = points.indexOf(event.currentTarget);
  const [row, column] = [Math.floor(at / SIZE), at % SIZE];
  const to = {
    ArrowUp: row > 0 && at - SIZE,
    ArrowDown: row < SIZE - 1 && at + SIZE,
    ArrowLeft: column > 0 && at - 1,
    ArrowRight: column < SIZE - 1 && at + 1,
    Home: row * SIZE,
    End: row * SIZE + SIZE - 1,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (to !== false) focus(points[to]);
}

function focus(point) {
  for (const each of points) each.tabIndex = each === point ? 0 : -1;
  point.focus();
}

function show(board) {
  state = board;
  const last = board.moves.at(-1);
  points.forEach((point, at) => {
    const stone = board.board[at];
    point.className = `point ${stone === "." ? "" : stone}${last?.at === point.dataset.at ? " last" : ""}`;
    point.setAttribute("aria-label", `${point.dataset.at}, ${NAMES[stone] ?? "empty"}`);
  });
  for (const each of ["b", "w"]) $(`captured-${each}`).textContent = board.captured[each];
  $("moves").replaceChildren(...board.moves.map((made) => {
    const item = document.createElement("li");
    item.textContent = `${NAMES[made.colour]} ${made.at}`;
    return item;
  }));
  for (const name of ["pass", "resign"]) $(name).disabled = !colour || board.result !== "";
  const before = last ? `${NAMES[last.colour]}: ${last.at}. ` : "";
  say("status", before + (board.result ? ending(board) : turn(board)));
  document.body.dataset.shown = `${board.moves.length} ${performance.timeOrigin + performance.now()}`;
}

function turn(board) {
  if (!colour) return `${NAMES[board.turn]} to move.`;
  return board.turn === colour ? `Your turn, ${NAMES[colour]}.` : `${NAMES[board.turn]} to move; you are ${NAMES[colour]}.`;
}

function ending(board) {
  const [side, by] = board.result.split("+");
  const how = by === "R" ? "by resignation" : `by ${by} points (${board.area.b} to ${board.area.w}, and the komi)`;
  return `${NAMES[side.toLowerCase()]} wins ${how}.`;
}

async function move(at) {
  if (!state || !colour) return say("trouble", "Only the players move. Open the page with the link of a player.");
  say("trouble", "");
  const number = state.moves.length + 1;
  const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("-");
  const body = JSON.stringify({ id, number, at });
  const headers = { authorization: `Bearer ${key}` };
  document.body.dataset.sent = `${number} ${performance.timeOrigin + performance.now()}`;
  for (;;) { // until the server answers: the same id again is the same move, so it is made once
    try {
      const answer = await fetch(`/games/${game}/moves`, { method: "POST", headers, body });
      if (answer.status >= 500) throw new Error(answer.statusText);
      return say("trouble", answer.ok ? "" : (await answer.json()).error);
    } catch {
      say("trouble", "The server does not answer. Trying again …");
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

function say(where, text) {
  if ($(where).textContent !== text) $(where).textContent = text;
}
