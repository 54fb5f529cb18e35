"""lm-evaluation-harness on our rows, beside our own scores."""
