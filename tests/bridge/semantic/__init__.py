"""Tests of what is asked of machines."""
