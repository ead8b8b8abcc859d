"""The blocking faces: Engine, Run and the verbs on States for threads that may wait.

`engine.py`, `run.py` and `states.py` are generated from the async classes by `make generate`; what is no forwarding method
is written by hand in their base classes, in `engine_base.py` and `base.py`.
"""
