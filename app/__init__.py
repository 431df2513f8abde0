"""The window, its panels and actions, the command line, and the wiring: the only place where guest and GPU meet."""
