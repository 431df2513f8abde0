"""Panels of the window: each a plain function of a state, one file a view."""
