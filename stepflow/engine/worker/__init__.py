"""Claims due runs, and decides how many, which ones, and when there is nothing left to do."""
