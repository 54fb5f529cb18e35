"""The rows of a source in another format."""

from collections import Counter
from typing import BinaryIO

from tunelock.reading.formats import FORMATS
from tunelock.reading.reading import Source, read_source
from tunelock.reading.rows import Unfit
from tunelock.run.files import format_json_line


def convert_rows(source: Source, to: str, out: BinaryIO) -> Counter[str]:
    """Write the rows of a source as JSON lines of the format `to`; the counts of those left out, by reason."""
    left_out: Counter[str] = Counter()
    for row in read_source("convert", source):
        try:
            if "status" in row:
                raise Unfit(row["reason"])
            out.write(format_json_line(FORMATS[to].from_messages(row["messages"])))
        except Unfit as unfit:
            left_out[str(unfit)] += 1
    return left_out
