"""A Django service: a view writes its row and starts the run in one transaction; a worker process calls the steps"""

import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path

import django
from django.conf import settings
from django.db import connection, transaction
from django.http import HttpRequest, JsonResponse
from django.test import Client
from django.urls import path

from stepflow import Engine, named

DATABASE = Path("shop.db").absolute()
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATABASE)}},
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["testserver"],
)
django.setup()


def charge(order: dict[str, int]) -> None:
    with closing(connection), connection.cursor() as cursor:  # each thread of the worker has its own
        cursor.execute("UPDATE orders SET charged = 1 WHERE id = %s", [order["id"]])


order_flow = named("order.v1", dict[str, int]).do("charge", charge).compile()


@cache
def engine() -> Engine:
    return Engine(f"sqlite:///{DATABASE}").open()  # at the first request: a server that forks inherits no open one


def create(_request: HttpRequest, number: int) -> JsonResponse:
    shop = engine()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (id, charged) VALUES (%s, 0)", [number])
        run = shop.start(order_flow, {"id": number}, id=f"order-{number}", tx=connection)
    return JsonResponse({"run": run.id})


def show(_request: HttpRequest, number: int) -> JsonResponse:
    engine().get(f"order-{number}").result(timeout=60)
    with connection.cursor() as cursor:
        cursor.execute("SELECT charged FROM orders WHERE id = %s", [number])
        return JsonResponse({"charged": cursor.fetchone()[0]})


urlpatterns = [path("orders/<int:number>", show), path("orders/<int:number>/create", create)]
if "worker" in sys.argv:
    engine().register(order_flow)
    print("the worker is ready", flush=True)
    engine().run_forever()
else:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (id integer PRIMARY KEY, charged integer)")
    command = [sys.executable, __file__, "worker"]  # in production `stepflow worker shop.flows`
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        print(worker.stdout.readline(), end="")
        print(Client().post("/orders/42/create").json())
        print(Client().get("/orders/42").json())
        worker.terminate()
    engine().close()
    connection.close()
