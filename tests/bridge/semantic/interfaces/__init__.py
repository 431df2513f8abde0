"""Tests of what programs ask through: access, REST and MCP."""
