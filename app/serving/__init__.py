"""Serving: what the interfaces for programs need of the application: pictures, tokens, a server to run in."""
