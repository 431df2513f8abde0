"""Tests of the widgets, each drawn in a real ImGui context that is fed synthetic events."""
