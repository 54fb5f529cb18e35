"""What two texts have in common where wording is free: a normal form, a label, a format."""

import json
import re
import string

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces.

    This is the normal form of SQuAD (Rajpurkar et al. 2016, https://arxiv.org/abs/1606.05250), kept as it is so that
    figures compare. In other languages: articles stay (and the English ones go: French `a` is a verb), as do « », ¿
    and 。; a sentence in a script without spaces is a single word, so token F1 is there as strict as exact match.
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def find_label(text: str, pattern: str) -> str | None:
    """The first match of `pattern` in a text (its first group, if it has one), or None."""
    found = re.search(pattern, text)
    return None if found is None else found[1] if found.re.groups else found[0]


def has_format(text: str, check: str) -> bool:
    """Whether a text is JSON (check `json`), or has a match of the regular expression `check`."""
    if check != "json":
        return re.search(check, text) is not None
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
