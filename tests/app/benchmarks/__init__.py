"""Tests of the benchmarks: what they print is what they measured."""
