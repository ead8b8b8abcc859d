"""Advances one claimed run: the attempts, and the executor that runs them on the loop or in threads."""
