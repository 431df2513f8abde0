"""A campaign against the kernel's room: real dumps, damaged in many ways, thousands of times, and asked everything."""
