"""Guest memory: the mapping, the physical memory map, dirty pages, snapshots."""
