"""A remote flow: a function that only another process has is executed there, and this one commits what it returns"""

import socket
import subprocess
import sys

import uvicorn

from stepflow import Command, Engine, StateCtx, commit, flow, park
from stepflow.remote import RemoteHosts, remote_flow
from stepflow.server import flow_host

STORE, SECRET = "sqlite:///mails.db", "at least 32 characters, the same on both sides"


@flow("mail.send")
def send(ctx: StateCtx) -> Command:
    ctx.annotations["receipt"] = f"sent to {ctx.labels['to']} by the host"
    return commit(park(ctx, state="sent"))


def host(url: str) -> None:
    """In production: stepflow host shop.mails --url http://10.0.0.7:9000 --store ... --secret-file ..."""
    application = flow_host(STORE, [send], url=url, secret=SECRET)
    uvicorn.run(application, port=int(url.rpartition(":")[2]), log_level="critical")


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    remote = RemoteHosts([url], secret=SECRET)  # no other host is ever called
    with Engine(STORE, remote=remote) as engine:
        run = engine.start(remote_flow("mail.send"), id="mail-1", labels={"to": "ada"})
        engine.run_until_idle()
        print("without a host it is", run.status())
        with subprocess.Popen([sys.executable, __file__, url]) as process:
            with engine.worker():
                next(state for state in engine.watch(since=0) if state.transition.annotations.get("state") == "sent")
            print("with one:", engine.get_state("mail-1").annotation("receipt"))
            print("hosts:", [str(found.status) for found in engine.runs(flow="stepflow.host")])
            process.terminate()
        print("hosts:", [str(found.status) for found in engine.runs(flow="stepflow.host")])


if __name__ == "__main__":
    host(sys.argv[1]) if len(sys.argv) > 1 else main()
