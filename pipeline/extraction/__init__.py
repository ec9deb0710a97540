"""Prompts, reply parsing and checked records with evidence."""
