"""Volatility 3 in processes of its own: its plugins, on what this program knows of a kernel."""
