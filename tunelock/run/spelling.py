"""What a person may have meant by a name that is not there."""

import difflib
from collections.abc import Iterable


def suggest_name(name: str, names: Iterable[str]) -> str:
    """How a sentence about a wrong name ends: "; did you mean 'dialogue'?", or a full stop where no name is alike."""
    known = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=0.6)
    return f"; did you mean '{known[close[0]]}'?" if close else "."
