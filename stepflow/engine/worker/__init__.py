"""Claims due runs: how many, which ones, by which attempt, and when nothing is left to do."""
