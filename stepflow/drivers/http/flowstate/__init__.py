"""The client side of flowstate.v1: a store behind a server that speaks nothing else, as those of the Go project flowstate do."""
