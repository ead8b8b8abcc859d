"""A deployment with waits, conditions, loops and retries; with a virtual clock twenty minutes take no time."""

from datetime import timedelta

from attrs import define

from stepflow import Engine, Steps, named
from stepflow.testing import VirtualClock


@define
class Deploy:
    version: str
    changed: bool = True
    checks: int = 0
    instances: int = 3
    probes: int = 0


def is_built(deploy: Deploy) -> bool:
    deploy.checks += 1
    return deploy.checks == 3


def roll(deploy: Deploy) -> None:
    deploy.instances -= 1
    print(f"rolled one instance, {deploy.instances} to go")


def probe(deploy: Deploy) -> None:
    print(f"probe {deploy.probes + 1}")
    if deploy.probes < 2:
        raise ConnectionError("not up yet")


def again(deploy: Deploy, error: Exception) -> bool:
    """What a failed step changed is dropped; what this handler changes is saved."""
    deploy.probes += 1
    return isinstance(error, ConnectionError)


rollout = Steps(Deploy).loop_until("rolled", lambda deploy: deploy.instances == 0, Steps(Deploy).do("roll", roll))
deploy_flow = (
    named("deploy.v1", Deploy)
    .do("prepare", lambda deploy: print(f"prepare {deploy.version}"))
    .wait_for("built", is_built, every=timedelta(minutes=10))
    .steps("database", Steps().do("dump", lambda: print("dump")).do("migrate", lambda: print("migrate")))
    .case("changed", lambda deploy: deploy.changed, rollout)
    .retry("smoke", again, Steps().do("probe", probe))
    .compile()
)

clock = VirtualClock()
with Engine("sqlite:///deploy.db", clock=clock) as engine:
    engine.register(deploy_flow)
    begin = clock.datetime()
    run = engine.start(deploy_flow, Deploy("2.0"), id="deploy-2.0")
    engine.run_until_idle(advance=True)
    print(f"{run.status()} after {clock.datetime() - begin}")
