"""A FastAPI service: its handlers start runs, publish to them and read them; a worker process calls the steps"""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel

from stepflow import AsyncEngine, Context, Engine, RunExists, workflow

STORE, WORKER = "sqlite:///service.db", "worker" in sys.argv


class Order(BaseModel):
    id: str
    cents: int


def ship(order: Order, card: str) -> str:
    return f"{order.id} is paid with {card} and shipped by the {'worker' if WORKER else 'server'}"


@workflow("order/v1")
def order_flow(wf: Context, order: Order) -> str:
    return wf.execute("ship", ship, order, wf.wait_for_event("payment", "paid", str))


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[None]:
    async with engine:  # it registers nothing: the server only starts, publishes and reads
        yield


engine, app = AsyncEngine(STORE), FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=202)
async def create(order: Order) -> str:
    try:
        return (await engine.start(order_flow, order, id=order.id)).id
    except RunExists as error:
        raise HTTPException(409, str(error).partition(":")[0]) from None


@app.post("/orders/{run}/payment", status_code=202)
async def pay(run: str, card: str) -> None:
    await engine.get(order_flow, run).publish(
        "paid", card, id=f"{run}-payment"
    )  # stored once, however often it is sent


@app.get("/orders/{run}")
async def result(run: str) -> str:
    return await engine.get(order_flow, run).result(timeout=60)


if WORKER:
    with Engine(STORE) as work:
        work.register(order_flow)
        print("the worker is ready", flush=True)
        work.run_forever()
else:
    command = [sys.executable, __file__, "worker"]  # in production `stepflow worker shop.flows`, and uvicorn
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker, TestClient(app) as client:
        assert worker.stdout is not None
        print(worker.stdout.readline(), end="")
        print(client.post("/orders", json={"id": "order-1", "cents": 500}).json())
        print(client.post("/orders", json={"id": "order-1", "cents": 900}).json()["detail"])
        client.post("/orders/order-1/payment?card=visa")
        print(client.get("/orders/order-1").json())
        worker.terminate()
