"""How long a guest is waited for."""

READY_LIMIT_S = 60.0
"""Until a guest says that it is up. Emulated ones on a busy machine take half of that."""
LOOK_AFTER_READY_S = 1.0
"""From then to the picture, so that the guest's workloads have written something worth seeing."""
