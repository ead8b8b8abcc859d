"""Advances runs: claims, group commit, timers, owners and the public Engine and AsyncEngine."""
