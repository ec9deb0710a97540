"""Run events and their outputs: console, JSON log, live status, metrics, run report."""
