"""Is this run healthy, and what to try."""
