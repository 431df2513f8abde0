"""Widgets: terminal, hex view and disassembly, drawn with a theme from plain callables; they know no machine."""
