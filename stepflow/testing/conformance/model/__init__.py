"""Hypothesis state machines that compare a driver with the memory model."""
