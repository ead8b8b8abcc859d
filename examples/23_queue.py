"""A queue: parked States with a label; a consumer watches the label and receives them in the order of their commits."""

from stepflow import Command, Engine, RevMismatch, StateCtx, commit, flow, park, transit

QUEUE = {"queue": "mails"}


@flow("send")
def send(ctx: StateCtx) -> Command:
    print("send", ctx.id)
    return commit(park(ctx))


with Engine("memory://") as engine:
    engine.register(send)
    for i in range(1, 5):
        engine.do(commit(park(StateCtx(f"mail-{i}", dict(QUEUE)))))

    waiting = engine.watch(QUEUE)
    for _ in range(4):
        mail = StateCtx.of(next(waiting))
        del mail.labels["queue"]  # removes the State from the queue
        try:
            engine.do(commit(transit(mail, "send")))
        except RevMismatch:
            continue  # another consumer has taken it
        engine.execute(mail)
    print("left:", [state.id for state in engine.states(QUEUE, latest_only=True).states])
