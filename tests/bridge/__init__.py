"""Tests/bridge."""
