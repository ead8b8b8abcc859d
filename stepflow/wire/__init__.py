"""Forms of commands and States that cross a network."""
