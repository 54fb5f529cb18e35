"""What people run: one module a command. Nothing imports it."""
