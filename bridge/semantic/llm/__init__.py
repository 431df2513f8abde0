"""Language models: free questions become queries of the query language, by any OpenAI-compatible endpoint."""
