"""Deployment and operation: offline bundle, doctor, schedule."""
