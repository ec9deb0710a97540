"""Shared data classes, errors and geometry; imports nothing else of the project."""
