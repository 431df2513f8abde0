"""The guest's kernel, understood from RAM alone: symbols, types, and what its own records say of every page."""
