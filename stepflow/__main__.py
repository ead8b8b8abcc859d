"""Makes `python -m stepflow` the same as the `stepflow` command."""

from stepflow.cli import main

main()
