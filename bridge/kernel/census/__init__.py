"""Censuses: all that is known of a machine as rows of tables, and what changed since the last time."""
