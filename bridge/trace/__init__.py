"""Trace: what the plugin in QEMU tells of the guest's execution: its memory, modes, counts, samples and records."""
