"""Membership: heartbeats, the failure detector, and news of changes for the parts of an engine."""
