"""Iterate over States: read the log of revisions from the beginning, filtered by labels, and continue later."""

from stepflow import Engine, StateCtx, commit, park

with Engine("memory://") as engine:
    for i in range(6):
        engine.do(commit(park(StateCtx(f"order-{i}", {"country": "IE" if i % 2 else "NL"}))))
    order = engine.get_state("order-1")
    engine.do(commit(park(order, state="paid")))

    seen = 0
    for state in engine.iterate({"country": "IE"}):
        print(state.rev, state.id, dict(state.transition.annotations))
        seen = state.rev
    print("newest only:", [s.id for s in engine.iterate({"country": "IE"}, latest_only=True)])

    engine.do(commit(park(StateCtx("order-6", {"country": "NL"}))))
    print("since then:", [s.id for s in engine.iterate(since_rev=seen)])
