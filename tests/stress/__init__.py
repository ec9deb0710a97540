"""Proof by breaking: each file here is a command that damages a run on purpose and says what came of it."""
