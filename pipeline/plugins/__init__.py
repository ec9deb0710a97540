"""The extension points: registries of engines, formats and sinks, open to installed packages."""
