"""Engines that answer from a script: for tests, drills and benchmarks."""
