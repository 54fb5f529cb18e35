"""A conversation with the base, the tuned model, or both."""
