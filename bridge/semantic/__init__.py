"""What a machine means, kept and asked for: store, query language, search, interfaces, audit log."""
