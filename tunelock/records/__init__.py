"""The nouns: a record, its words and n-grams, and what lies near it."""
