"""The watched folder: scan, group, claim, queue."""
