"""The query language: what people ask of a machine's memory, as typed values, and what answers them."""
