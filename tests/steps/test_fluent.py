"""F1-F6 of the acceptance list: chains of every kind with their literal positions and exact numbers of applies."""

from __future__ import annotations

from stepflow.steps import Steps, named
from tests.steps.helpers import Fail, history


def adder(exchange: list[str], text: str):
    return lambda: exchange.append(text)


def scoped(root: str, *texts: str) -> list[str]:
    """`completed:a` stands for `completed:<root>/a`, `completed:` for the root itself."""
    return [text.replace(":", f":{root}/", 1).rstrip("/") for text in texts]


def test_f1_steps():
    log: list[str] = []
    a, b, c = adder(log, "A"), adder(log, "B"), adder(log, "C")
    flow = (
        named("TestSteps")
        .do("stepA", a)
        .do("stepB", b)
        .do("stepC", c)
        .steps("stepD", Steps().do("stepA", a).do("stepB", b).do("stepA-bis", a))
        .do("log", lambda: None)
        .compile()
    )
    assert history(flow) == scoped(
        "TestSteps",
        "completed:stepA",
        "completed:stepB",
        "completed:stepC",
        "completed:stepD/stepA",
        "completed:stepD/stepB",
        "completed:stepD/stepA-bis",
        "completed:log",
        "completed:",
    )
    assert log == list("ABCABA")


def test_f2_wait_for():
    checks: list[int] = []

    def grown() -> bool:
        checks.append(1)
        return len(checks) == 4

    flow = named("TestWaitFor").wait_for("growEx", grown).do("log", lambda: None).compile()
    assert history(flow) == scoped(
        "TestWaitFor",
        *["start:growExWaitFor"] * 3,
        "completed:growExWaitFor",
        "completed:log",
        "completed:",
    )
    assert len(checks) == 4


def test_f3_retry():
    log: list[str] = []

    def need_three() -> None:
        if len(log) < 3:
            raise Fail

    inner = Steps().do("addA", adder(log, "A")).do("fail", need_three).do("log", lambda: None)
    flow = (
        named("TestRetry")
        .do("before", lambda: None)
        .retry("growEx", lambda error: True, inner)
        .do("after", lambda: None)
        .compile()
    )
    assert history(flow) == scoped(
        "TestRetry",
        "completed:before",
        "completed:growExRetry/addA",
        "start:growExRetry",
        "completed:growExRetry/addA",
        "start:growExRetry",
        "completed:growExRetry/addA",
        "completed:growExRetry/fail",
        "completed:growExRetry/log",
        "completed:after",
        "completed:",
    )
    assert log == list("AAA")


def test_f4_loop_until():
    log: list[str] = []
    add = adder(log, "A")
    flow = (
        named("TestLoopUntil")
        .do("addA", add)
        .loop_until("growEx", lambda: len(log) > 10, Steps().do("addA", add).do("log", lambda: None))
        .do("log", lambda: None)
        .compile()
    )
    seen = history(flow)
    assert len(seen) == 33
    assert len(log) == 11
    body = ["completed:growExLoopUntil/steps/addA", "completed:growExLoopUntil/steps/log"]
    assert seen == scoped(
        "TestLoopUntil",
        "completed:addA",
        *[*body, "start:growExLoopUntil/steps"] * 9,
        *[*body, "completed:growExLoopUntil"],
        "completed:log",
        "completed:",
    )


def test_f5_case():
    log: list[str] = []
    flow = (
        named("TestCase")
        .do("before", adder(log, "before"))
        .case("ifTrue", lambda: True, Steps().do("A", adder(log, "A")).do("B", adder(log, "B")))
        .case("ifFalse", lambda: False, Steps().do("x", adder(log, "x")))
        .do("after", adder(log, "after"))
        .compile()
    )
    assert history(flow) == scoped(
        "TestCase",
        "completed:before",
        "start:ifTrueCase/steps",
        "completed:ifTrueCase/steps/A",
        "completed:ifTrueCase/steps/B",
        "completed:ifFalseCase",
        "completed:after",
        "completed:",
    )
    assert log == ["before", "A", "B", "after"]


def test_f6_generic_example():
    log: list[str] = []

    def yes() -> bool:
        return True

    inner = (
        Steps()
        .do("createGitOpsVersionBump", adder(log, "createGitOpsVersionBump"))
        .wait_for("merged", yes)
        .wait_for("rolledOut", yes)
        .do("postDeploy", adder(log, "postDeploy"))
        .wait_for("healthy", yes)
        .do("validatePostActualState", adder(log, "validatePostActualState"))
    )
    flow = (
        named("deploy/v1")
        .do("preDeploy", adder(log, "preDeploy"))
        .wait_for("allowed", yes)
        .case("needed", yes, inner)
        .compile()
    )
    assert history(flow) == scoped(
        "deploy/v1",
        "completed:preDeploy",
        "completed:allowedWaitFor",
        "start:neededCase/steps",
        "completed:neededCase/steps/createGitOpsVersionBump",
        "completed:neededCase/steps/mergedWaitFor",
        "completed:neededCase/steps/rolledOutWaitFor",
        "completed:neededCase/steps/postDeploy",
        "completed:neededCase/steps/healthyWaitFor",
        "completed:neededCase/steps/validatePostActualState",
        "completed:",
    )
    assert log == ["preDeploy", "createGitOpsVersionBump", "postDeploy", "validatePostActualState"]


def test_the_quickstart_of_the_origin_takes_four_applies():
    flow = (
        named("quickstart.v1")
        .do("step1", print)
        .wait_for("aCondition", lambda: True)
        .do("step2", lambda: None)
        .compile()
    )
    assert history(flow) == scoped(
        "quickstart.v1", "completed:step1", "completed:aConditionWaitFor", "completed:step2", "completed:"
    )
