"""Hypothesis state machines: a driver answers every sequence of calls as the memory model does.

- `machine.py`: `DriverMachine`, the same calls on the driver and on the memory driver, with the rules of
  `delays_and_data.py`; `sides.py` makes the two comparable, `choices.py` holds the few ids and values.
- `limits_machine.py`: `LimitsMachine`, claims against an oracle that counts limits run by run.

A new call or query of the port gets a rule or an invariant here.
"""
