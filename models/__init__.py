"""What answers: one package or module an engine, listed in `pipeline.plugins.engines`."""
