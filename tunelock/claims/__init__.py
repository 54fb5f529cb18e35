"""Base against tuned: intervals, tests, the claim, what was forgotten, what is suspicious."""
