"""What runs on the host: standard library only, for it is sent as a zip to any CPython 3.11."""
