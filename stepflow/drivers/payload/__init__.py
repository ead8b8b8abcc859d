"""Payload stages: what is stored of values is compressed, encrypted or kept elsewhere, in whatever store."""
