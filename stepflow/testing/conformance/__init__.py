"""The conformance kit: the laws of `stepflow.drivers.port.store` as tests that any driver can run.

In a test module of a driver, with `DriverLaws` of `.laws`, `ProcessLaws` of `.processes` (several processes may open the
store at once), `CrashLaws` of `.crashes` (it outlives its process), `EngineCases` of `.cases`, `DriverMachine` of `.machine`:

    class TestMyDriver(DriverLaws, ProcessLaws, CrashLaws, EngineCases):
        @pytest.fixture
        def driver(self, tmp_path): return MyDriver(tmp_path / "store")

    class MyMachine(DriverMachine):
        def make_driver(self): return MyDriver(mkdtemp())

    TestMyMachine = MyMachine.TestCase

This module imports nothing: the processes that the tests start would pay for it.
"""
