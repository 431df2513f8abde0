"""The semantic store: what was known of every machine of a session, and when, in one SQLite database."""
