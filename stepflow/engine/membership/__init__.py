"""Who is alive and what changed: heartbeats, the failure detector, and news for those who wait."""
