"""The laws of the port, one group of tests per file."""
