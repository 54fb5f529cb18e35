"""What params.yaml may say: types and ranges of each key, and what contradicts what."""
