"""The weights folder: checks and loading."""
