"""The one way from a record to tokens and labels."""
