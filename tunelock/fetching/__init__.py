"""Pinned bytes from elsewhere: wheels, URLs, hub datasets, archives."""
