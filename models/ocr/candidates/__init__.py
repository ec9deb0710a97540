"""Candidate values of a field, ranked and calibrated."""
