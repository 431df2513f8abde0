"""GPU: arrays in, pictures out. Hilbert curve, bricks, volume, camera, picking."""
