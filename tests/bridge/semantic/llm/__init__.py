"""Tests of consulting language models."""
