"""Tests/app."""
