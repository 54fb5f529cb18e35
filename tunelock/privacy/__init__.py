"""Personal data and secrets: found, masked, redacted."""
