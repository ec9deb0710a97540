"""What happens to a document, from the inbox to the table. Importing it switches off its libraries' use of a network.

This is the one place that every start passes, before any library that calls out is imported: the command line, guarded
workers, the engine's process, the page, benchmarks, and a program that imports the engine.
"""

from pipeline.core.offline import switch_off_network

switch_off_network()
