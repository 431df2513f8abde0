"""Machines and all that is known of them: launch, attach, RAM. Arrays out; no GPU, no window."""
