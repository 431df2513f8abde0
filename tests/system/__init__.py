"""Tests/system."""
