"""A deploy that changes the exchange: the new version continues the runs of the old one."""

from typing import Any

from attrs import define

from stepflow import Engine, named

STORE = "sqlite:///members.db"


@define
class OldMember:
    name: str


@define
class Member:
    first: str
    last: str
    mail: str = ""


def upgrade(raw: dict[str, Any]) -> dict[str, Any]:
    """Convert the stored form of any older version to the current one."""
    if "name" in raw:
        first, _, last = raw.pop("name").partition(" ")
        raw |= {"first": first, "last": last}
    return raw


def confirm(member: Member, mail: str) -> None:
    member.mail = mail


old_flow = named("member.v1", OldMember).wait_event("confirm", "confirmed", str, lambda mail: None).compile()
new_flow = (
    named("member.v1", Member)
    .wait_event("confirm", "confirmed", str, confirm)
    .do("greet", lambda member: print(f"Dear {member.first} {member.last} <{member.mail}>"))
    .compile(upgrade=upgrade)
)

with Engine(STORE) as engine:
    engine.register(old_flow)
    engine.start(old_flow, OldMember("Ada Lovelace"), id="ada")
    print("old version:", engine.run_until_idle().waiting, "run waits")

with Engine(STORE) as engine:
    engine.register(new_flow)
    run = engine.get(new_flow, "ada")
    run.publish("confirmed", "ada@example.org")
    engine.run_until_idle()
    print(run.result())
