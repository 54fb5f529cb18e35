"""Which answer do people prefer: blinding, ticks, counts."""
