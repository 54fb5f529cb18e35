"""A model put to rows: scores, answers, choices, contrast."""
