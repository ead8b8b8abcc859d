"""What an operator asks and does over HTTP: runs, flows, schedules, workers, limits and the store."""
