"""The machine: guest catalogue, launch, QMP, discovery, confinement, console."""
