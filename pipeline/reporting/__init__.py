"""Events, run report, console, live status and metrics."""
