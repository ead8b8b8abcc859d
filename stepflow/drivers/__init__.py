"""Storage implementations behind one port (`port/store.py`), chosen by URL (`registry.py`)."""

from stepflow.drivers.moved import install

install()
