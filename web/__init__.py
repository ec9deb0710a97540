"""The local page: a thin client of a root. It reads results and drops files; all work goes through the pipeline."""
