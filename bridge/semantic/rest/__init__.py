"""REST: machines, what is known of them, queries and the picture, over HTTP to this machine's own users only."""
