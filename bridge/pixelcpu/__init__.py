"""The Pixel CPU: hot x86 loops as microcode in pixels, proved equal before they run.

`isa` is the table from which all else comes; z3, pyvex and llvmlite take long to import, so nothing is imported here.
"""
