"""An agent: a model chooses tools in a loop; each answer and each call is durable, and a person approves the dangerous ones"""

from datetime import timedelta

from attrs import frozen

from stepflow import Context, Engine, workflow
from stepflow.testing import VirtualClock


@frozen
class Turn:
    text: str
    tool: str = ""  # the tool that the model wants to call with the text; empty: the text is its answer


SCRIPT = [Turn("orders of Ada", "search"), Turn("order 17", "refund"), Turn("order 17 is refunded")]
TOOLS = {"search": "2 orders: 16 and 17", "refund": "refunded 49 euros"}
DANGEROUS = {"refund"}


def ask_model(talk: list[str]) -> Turn:
    print(
        f"  the model reads {len(talk)} lines"
    )  # a real one would be asked here; each of its answers is paid for once
    return SCRIPT[sum(line.startswith("model:") for line in talk)]


def call_tool(turn: Turn) -> str:
    print(f"  {turn.tool}({turn.text!r})")
    return TOOLS[turn.tool]


@workflow("agent/v1")
def agent(wf: Context, question: str) -> list[str]:
    talk = [f"user: {question}"]
    for n in range(10):  # turns, at most
        turn = wf.execute(f"model/{n}", ask_model, talk)
        talk.append(f"model: {turn.text}")
        if not turn.tool:
            break
        if turn.tool in DANGEROUS:
            first = wf.first_of(f"ok/{n}", wf.event("approval", bool), wf.timer(timedelta(days=1)))
            if not first.value:  # None if the day is over
                talk.append(f"tool: {turn.tool} is not allowed")
                continue
        talk.append(f"tool: {wf.execute(f'tool/{n}', call_tool, turn, at_most_once=turn.tool in DANGEROUS)}")
    return talk


clock = VirtualClock()
for process in (1, 2):  # the first one ends while the run waits for a person; the second one goes on where it was
    with Engine("sqlite:///agent.db", clock=clock) as engine:
        engine.register(agent)
        run = engine.start(agent, "please refund my last order", id="chat-1")
        if run.status() == "waiting":
            run.publish("approval", True)
        engine.run_until_idle()
        print(f"process {process}: the chat is {run.status()}")
        if run.status() == "completed":
            print(*run.result(), sep="\n")
