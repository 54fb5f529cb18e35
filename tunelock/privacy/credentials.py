"""Passwords, tokens and keys that have a form of their own, by the patterns of detect-secrets and a few more."""

import functools
import importlib
import re
from collections.abc import Iterator

from tunelock.privacy.contacts import ALNUM, NOBODY

PLUGINS = {  # of detect-secrets, with literals of which one stands in whatever the plugin finds
    "aws.AWSKeyDetector": ("AKIA", "ASIA", "ABIA", "ACCA", "A3T", "aws", "AWS"),
    "azure_storage_key.AzureStorageKeyDetector": ("AccountKey=",),
    "basic_auth.BasicAuthDetector": ("://",),
    "github_token.GitHubTokenDetector": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    "gitlab_token.GitLabTokenDetector": ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glptt-"),
    "mailchimp.MailchimpDetector": ("-us",),
    "pypi_token.PypiTokenDetector": ("pypi-",),
    "sendgrid.SendGridDetector": ("SG.",),
    "slack.SlackDetector": ("xox", "hooks.slack.com"),
    "square_oauth.SquareOAuthDetector": ("sq0csp-",),
    "stripe.StripeDetector": ("k_live_",),
    "telegram_token.TelegramBotTokenDetector": (":AA",),
    "twilio.TwilioKeyDetector": ("AC", "SK"),
}
TOKENS = {  # what the plugins lack, cut short (a JWT's signature, a key's body) or match in quadratic time
    "eyJ": r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "sk-": r"(?<![\w-])sk-(?=[\w-]{0,60}[0-9])(?=[\w-]{0,60}[A-Z])[\w-]{20,250}",
    "hf_": r"hf_[A-Za-z0-9]{30,40}",
    "npm_": r"npm_[A-Za-z0-9]{36}",
    "github_pat_": r"github_pat_\w{82}",
    "AIza": r"AIza[\w-]{35}",
    "PRIVATE KEY": r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-\[\]]|-(?!-)){40,9999}-----END [A-Z ]{3,40}-----|(?:(?:\\n|\s)*[A-Za-z0-9+/=]{40,})+)",
}


def find_secrets(text: str) -> Iterator[tuple[int, int]]:
    """Tokens with a form of their own; those of few different characters are placeholders."""
    for pattern in _choose_patterns(text):
        for found in pattern.finditer(text):
            start, end = found.span()
            while start < end and text[start] not in ALNUM:
                start += 1
            while end > start and text[end - 1] not in ALNUM:
                end -= 1
            inside = ALNUM.intersection(text[max(start - 1, 0) : start] + text[end : end + 1])
            if not inside and len(set(text[start:end])) >= 8 and not NOBODY.match(text, end):
                yield start, end


def _choose_patterns(text: str) -> Iterator[re.Pattern]:
    """The patterns whose literals stand in the text; without a word of 20 characters or a URL there is no secret."""
    if "://" not in text and max(map(len, text.split()), default=0) < 20:
        return
    for anchor, pattern in TOKENS.items():
        if anchor in text:
            yield re.compile(pattern, re.ASCII)
    for plugin, anchors in PLUGINS.items():
        for anchor in anchors:
            if anchor in text:
                yield from _load_denylist(plugin)
                break


@functools.cache
def _load_denylist(plugin: str) -> tuple[re.Pattern, ...]:
    """The patterns of one plugin; imported when first needed, for detect-secrets brings `requests` with it."""
    module, _, name = plugin.partition(".")
    return tuple(getattr(importlib.import_module(f"detect_secrets.plugins.{module}"), name).denylist)
