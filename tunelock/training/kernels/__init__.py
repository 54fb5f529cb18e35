"""Layers of the model computed faster, with the same results."""
