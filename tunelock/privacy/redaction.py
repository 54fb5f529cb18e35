"""Settings that leave the house, such as to a tracker, without the secrets in them."""

import os
import re

from tunelock.privacy.credentials import find_secrets

HIDDEN = "[redacted]"
SECRET_NAME = re.compile(  # not `secret` alone: that is a kind of data in `pii`, and its value says what becomes of it
    r"(^|[_.-])(token|password|passwd|passphrase|credentials?|auth|(api|access|private|secret)_?key)($|[_.-])"
    r"|[_.-]secret($|[_.-])"
)


def redact_settings(value, name: str = ""):
    """A copy of JSON-like settings with `[redacted]` for what looks like a secret by its key or its form.

    A form is one of `tunelock.privacy.credentials`, or the value of an environment variable with a secret's name.
    """
    if isinstance(value, dict):
        return {redact_settings(str(key)): redact_settings(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_settings(inner, name) for inner in value]
    if value and is_secret_name(name):
        return HIDDEN
    return _redact_text(value) if isinstance(value, str) else value


def is_secret_name(name: str) -> bool:
    """True for `hub_token`, `apiKey`, `WANDB_API_KEY`; false for `max_new_tokens`."""
    return bool(SECRET_NAME.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))


def _redact_text(text: str) -> str:
    """The text with `[redacted]` in place of each secret."""
    found = {text[start:end] for start, end in find_secrets(text)}
    found |= {value for name, value in os.environ.items() if is_secret_name(name) and len(value) >= 8}
    for secret in sorted(found, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
