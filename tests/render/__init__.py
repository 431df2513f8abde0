"""Tests/render."""
