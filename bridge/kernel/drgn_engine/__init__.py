"""Details of a kernel by drgn, over its own types: files, mounts, modules, sockets, slabs, log, stacks."""
