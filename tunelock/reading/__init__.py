"""From files to records: the shape of a file, the format of a row."""
