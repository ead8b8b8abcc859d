"""Workflows: plain Python functions that are called again from the top, with what they did before read from a journal."""

from stepflow.replay.async_context import AsyncContext
from stepflow.replay.context import Context
from stepflow.replay.results import Failed, First, Ok
from stepflow.replay.ways import ChildHandle
from stepflow.replay.workflow import Workflow, workflow

__all__ = ["AsyncContext", "ChildHandle", "Context", "Failed", "First", "Ok", "Workflow", "workflow"]
