"""The memory driver: the reference model of the port, for tests and for work that may be lost with the process."""

from stepflow.drivers.memory.driver import MemoryDriver

__all__ = ["MemoryDriver"]
