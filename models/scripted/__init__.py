"""Engines that answer from a script: for tests and benchmarks."""
