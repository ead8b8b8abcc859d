"""Runs the `stepflow` command for `python -m stepflow`."""

from stepflow.cli import main

main()
