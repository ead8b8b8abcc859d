"""The port between engine and stores: what a store must do (`store.py`), and the values that cross it."""
