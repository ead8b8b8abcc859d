"""The step DSL: chains of steps, compiled to a table that plain `apply` or an engine advances. Pure."""

from stepflow.steps.builder import Steps, named
from stepflow.steps.flow import StepFlow

__all__ = ["StepFlow", "Steps", "named"]
