"""Storage implementations behind one port (`base.py`), chosen by URL (`urls.py`)."""
