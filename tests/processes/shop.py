"""A flow in two versions: the new one has a position that the old one does not know."""

from __future__ import annotations

from stepflow import named
from tests.processes.flows import Count, guarded

shop_1 = named("shop", Count).do("pick", guarded).do("pack", guarded).compile()
shop_2 = named("shop", Count).do("pick_well", guarded).do("pack", guarded).compile()
