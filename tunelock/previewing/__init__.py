"""Raw data before anything runs: what its rows would become, and the same rows in another format."""
