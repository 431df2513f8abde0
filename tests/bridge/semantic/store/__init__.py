"""The semantic store: schema, writer, reader, sessions, censuses."""
