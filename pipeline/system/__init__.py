"""Worker processes, IPC, files and locks."""
