"""Search in a machine's RAM: bytes with wildcards, text, regular expressions, YARA rules."""
