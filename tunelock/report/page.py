"""Templates to self-contained pages: escaped, with no way to the network, whatever the texts in them say."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunelock.report.text import clipped, visible

HERE = Path(__file__).parent
MOST = 3000  # characters of a question or an answer that a page shows


def render(template: str, script: str | None = None, **values: object) -> str:
    """A page out of a template beside this module.

    All that is put in is escaped and made visible (see `tunelock.report.text`). The page's Content-Security-Policy lets
    it load nothing and run nothing but its own script.

    Args:
        template: its file name.
        script: the file name of the page's script, or None.
        values: what the template speaks of.
    """
    code = (HERE / script).read_text(encoding="utf-8") if script else None
    style = (HERE / "page.css").read_text(encoding="utf-8")
    page = templates().get_template(template)
    return page.render(style=Markup(style), script=code and Markup(code), policy=policy(code), **values)  # noqa: S704


def policy(code: str | None) -> str:
    """The Content-Security-Policy: nothing from anywhere, styles of the page itself, and the script of this hash.

    Styles stand in attributes too (widths of bars, lines of charts), which have no hash.
    """
    allowed = "'none'"
    if code:
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"


def templates() -> Environment:
    """Jinja2 with everything escaped, unknown names refused, and numbers as the house writes them."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=shown,
    )  # fmt: skip
    environment.filters |= {
        "number": number,
        "signed": signed,
        "chance": chance,
        "share": share,
        "name": name,
        "clip": clip,
    }
    return environment


def shown(value: object) -> object:
    """What a template puts in: text made visible, markup of our own as it is, None as a dash."""
    if value is None:
        return "–"
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def clip(text: str, most: int = MOST) -> str:
    """As much of a text as a page shows."""
    return clipped(text, most)


def name(key: str) -> str:
    """A key of a metrics file as words."""
    return key.replace("_", " ")


def number(value: float | None, digits: int | None = None) -> str:
    """A number with so many digits behind the point, or four that count; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return minus(f"{value:,.{digits}f}" if digits is not None else f"{value:,.4g}")


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, or a 0 without."""
    if value is None:
        return "–"
    return minus(f"{value:+,.{digits}f}") if round(value, digits) else f"{0:.{digits}f}"


def chance(p: float | None) -> str:
    """A p-value, no smaller than can be told."""
    return "< 0.0001" if p is not None and p < 1e-4 else number(p, 4)


def share(value: float | None, digits: int = 1) -> str:
    """A share as per cent."""
    return "–" if value is None else minus(f"{100 * value:.{digits}f} %")


def minus(text: str) -> str:
    """With a true minus sign, as wide as the plus."""
    return text.replace("-", "−")
