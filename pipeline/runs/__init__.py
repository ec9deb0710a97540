"""Orchestration: session, batch run, scheduler, commit order, watch."""
