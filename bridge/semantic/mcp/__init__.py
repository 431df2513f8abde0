"""MCP: what REST offers too, as tools and resources for language models (Model Context Protocol)."""
