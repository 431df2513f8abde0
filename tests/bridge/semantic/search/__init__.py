"""Tests of searching in RAM."""
