"""Traces and metrics of an engine: the same parts, wrapped, for an application that has set up OpenTelemetry."""
