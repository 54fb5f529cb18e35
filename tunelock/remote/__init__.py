"""Experiments on other machines, on the laptop's side: what is sent, over which connection, and what comes back."""
