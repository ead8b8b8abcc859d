"""The conformance kit: the laws of `stepflow.drivers.port.store`, and whole engines, as tests that any driver can run.

In a test module of a driver:

    from stepflow.testing.conformance import CrashLaws, DriverLaws, DriverMachine, EngineCases, FastPathMachine, LimitsMachine, ProcessLaws

    class TestMyDriver(DriverLaws, ProcessLaws, CrashLaws, EngineCases):
        @pytest.fixture
        def driver(self, tmp_path): return MyDriver(tmp_path / "store")

    class MyMachine(DriverMachine):
        def make_driver(self): return MyDriver(mkdtemp())

    TestMyMachine = MyMachine.TestCase

`ProcessLaws` is for stores that several processes may open, `CrashLaws` for those that outlive their process. The tests lie
in `laws/`, `model/`, `processes/` and `cases/`; `kit.py` has helpers for tests of your own. With
`pytest.register_assert_rewrite("stepflow.testing.conformance")` in your conftest.py a failure shows the values.

A name is loaded when it is first used: the processes that the tests start import parts of the kit, and need no pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import stepflow.drivers  # noqa: F401 - former modules of the kit are named by its finder

if TYPE_CHECKING:
    from stepflow.testing.conformance.driver_laws import DriverLaws
    from stepflow.testing.conformance.engine_cases import EngineCases
    from stepflow.testing.conformance.kit import Sessions
    from stepflow.testing.conformance.model.general_path import FastPathMachine
    from stepflow.testing.conformance.model.limits_machine import LimitsMachine
    from stepflow.testing.conformance.model.machine import DriverMachine
    from stepflow.testing.conformance.processes.crashes import CrashLaws
    from stepflow.testing.conformance.processes.workers import ProcessLaws

_MODULE_OF = {
    "CrashLaws": "processes.crashes",
    "DriverLaws": "driver_laws",
    "DriverMachine": "model.machine",
    "EngineCases": "engine_cases",
    "FastPathMachine": "model.general_path",
    "LimitsMachine": "model.limits_machine",
    "ProcessLaws": "processes.workers",
    "Sessions": "kit",
}

__all__ = [
    "CrashLaws",
    "DriverLaws",
    "DriverMachine",
    "EngineCases",
    "FastPathMachine",
    "LimitsMachine",
    "ProcessLaws",
    "Sessions",
]


if not TYPE_CHECKING:  # type checkers read the imports above, and so refuse a name that does not exist

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
        try:
            value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name not in ("pytest", "hypothesis"):
                raise
            raise ImportError(f'{__name__}.{name} needs {error.name}: pip install "stepflow[testing]"') from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
