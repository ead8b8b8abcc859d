"""Test a flow: with a memory store and a virtual clock a month of waiting is instant and deterministic."""

from datetime import timedelta

from attrs import define, field

from stepflow import Engine, named
from stepflow.testing import VirtualClock


@define
class Trial:
    user: str
    paid: bool = False
    mails: list[str] = field(factory=list[str])


def has_paid(trial: Trial) -> bool:
    return len(payments) > 0


payments: list[str] = []
trial_flow = (
    named("trial.v1", Trial)
    .do("welcome", lambda trial: trial.mails.append("welcome"))
    .wait_for("payment", has_paid, every=timedelta(days=1), timeout=timedelta(days=30))
    .do("thanks", lambda trial: trial.mails.append("thanks"))
    .compile()
)


def test_a_payment_is_seen_the_next_day() -> None:
    clock = VirtualClock()
    with Engine("memory://", clock=clock) as engine:
        engine.register(trial_flow)
        run = engine.start(trial_flow, Trial("ada"))
        engine.run_until_idle()
        clock.advance(timedelta(days=9))
        engine.run_until_idle()
        payments.append("ada")
        engine.run_until_idle(advance=True)
        assert run.result().mails == ["welcome", "thanks"]
        assert run.info().updated_at.day == 11


def test_without_a_payment_the_trial_ends() -> None:
    payments.clear()
    with Engine("memory://", clock=VirtualClock()) as engine:
        engine.register(trial_flow)
        run = engine.start(trial_flow, Trial("bob"))
        engine.run_until_idle(advance=True)
        info = run.info()
        print(f"without a payment: {info.status}, {info.error.type if info.error else ''}")


test_a_payment_is_seen_the_next_day()
test_without_a_payment_the_trial_ends()
print("both tests passed")
