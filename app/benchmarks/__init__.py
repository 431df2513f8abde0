"""Benchmarks: each measures one part of the program on this machine, and holds the figures against their bars."""
