"""The commands of run_batch.py: parse, wire, map errors to exit codes. The work lies in pipeline/ and models/."""
