"""The commands of run_batch.py: parse options, call pipeline/ and models/, map errors to exit codes."""
