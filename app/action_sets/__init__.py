"""The actions themselves, one module a category."""
