"""The weights folder: what must be in it, and how it is loaded."""
