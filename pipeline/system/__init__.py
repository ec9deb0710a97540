"""Processes, IPC, files and locks: what the operating system gives."""
