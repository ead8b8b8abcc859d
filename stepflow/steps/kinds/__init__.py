"""The kinds of steps: one file per kind, with its verb of the chain, its suffix in positions and its diagram shape."""
