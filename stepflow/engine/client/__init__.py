"""What any process may do with a run by its id: start it, find it, publish to it, cancel it, explain it."""
