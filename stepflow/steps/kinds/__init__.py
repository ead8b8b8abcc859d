"""The kinds of steps: one file per kind, with its verb, its suffix in positions and its shape in diagrams."""
