"""Back-off: a policy counts attempts in the position, so it survives restarts; other errors end the run at once."""

from attrs import define

from stepflow import Engine, RetryPolicy, RunFailed, Steps, current, named
from stepflow.testing import VirtualClock


@define
class Payment:
    cents: int
    answers: list[str]


def charge(payment: Payment) -> None:
    answer = payment.answers[current().attempt - 1]
    print(f"attempt {current().attempt}: {answer}")
    if answer == "timeout":
        raise ConnectionError("the bank does not answer")
    if answer == "declined":
        raise PermissionError("the card was declined")


policy = RetryPolicy(max_attempts=4, delay=10, factor=3, jitter=0, on=ConnectionError)
payment_flow = named("payment.v1", Payment).retry("bank", policy, Steps().do("charge", charge)).compile()

clock = VirtualClock()
with Engine("sqlite:///payments.db", clock=clock) as engine:
    engine.register(payment_flow)
    begin = clock.datetime()
    for answers in (["timeout", "timeout", "ok"], ["timeout", "declined"], ["timeout"] * 4):
        run = engine.start(payment_flow, Payment(4200, answers))
        engine.run_until_idle(advance=True)
        try:
            run.result()
            print(f"paid, {(clock.datetime() - begin).seconds} s after the start")
        except RunFailed as failure:
            print(f"failed: {failure.type}: {failure.message}")
