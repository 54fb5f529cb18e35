"""Which row goes to which split, and that nothing leaks."""
