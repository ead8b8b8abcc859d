"""The verb `publish-topic`: publishes a message to a topic, once for any number of runs."""

from __future__ import annotations

import json
from datetime import timedelta

import click

from stepflow.cli.audited import audited
from stepflow.cli.target import StoreTarget, with_store
from stepflow.cli.values import duration, json_text
from stepflow.engine.async_engine import AsyncEngine


@click.command("publish-topic")
@click.argument("name")
@click.argument("payload", type=json_text, default="null")
@click.option("--id", "message_id", help="Id of the message; the same id is published once.")
@click.option(
    "--keep",
    type=duration,
    metavar="DURATION",
    default="7d",
    show_default=True,
    help="How long runs that begin to wait later get it, too.",
)
@with_store
def command(target: StoreTarget, name: str, payload: str, message_id: str | None, keep: timedelta) -> None:
    """Publish a message with PAYLOAD (JSON text, or - for stdin) to topic NAME: all runs that wait for it go on."""

    async def work(engine: AsyncEngine) -> None:
        async with audited(target, "publish_topic", "topic", name, message_id=message_id):
            await engine.publish_topic(name, json.loads(payload), id=message_id, keep=keep)

    target.run(work)
    if target.out.json:
        return target.out.value({"topic": name})
    return target.out.line(f"{name}: the message is published")
