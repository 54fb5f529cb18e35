"""What leaves the house: packages, and the proof that one is as it was packed."""
