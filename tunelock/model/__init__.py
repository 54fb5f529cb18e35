"""A model to run: loading, dtype, heads and losses, shared prefixes, provenance."""
