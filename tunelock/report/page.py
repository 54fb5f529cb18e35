"""Templates to self-contained pages: escaped, with no way to the network, whatever the texts in them say."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tunelock.report.text import clip_text, reveal_unseen

HERE = Path(__file__).parent
MOST = 3000  # characters of a question or an answer that a page shows


def render_page(template: str, script: str | None = None, **values: object) -> str:
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
    page = _make_environment().get_template(template)
    return page.render(style=Markup(style), script=code and Markup(code), policy=build_policy(code), **values)  # noqa: S704


def build_policy(code: str | None) -> str:
    """The Content-Security-Policy: nothing from anywhere, styles of the page itself, and the script of this hash.

    Styles stand in attributes too (widths of bars, lines of charts), which have no hash.
    """
    allowed = "'none'"
    if code:
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; form-action 'none'"


def _make_environment() -> Environment:
    """Jinja2 with everything escaped, unknown names refused, and numbers as the house writes them."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finish_value,
    )
    environment.filters |= {
        "number": show_number,
        "signed": show_difference,
        "chance": show_chance,
        "share": show_share,
        "name": name_key,
        "clip": _clip_to_page,
    }
    return environment


def _finish_value(value: object) -> object:
    """What a template puts in: text made visible, markup of our own as it is, None as a dash."""
    if value is None:
        return "–"
    return reveal_unseen(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clip_to_page(text: str, most: int = MOST) -> str:
    """As much of a text as a page shows."""
    return clip_text(text, most)


def name_key(key: str) -> str:
    """A key of a metrics file as words."""
    return key.replace("_", " ")


def show_number(value: float | None, digits: int | None = None) -> str:
    """A number with so many digits behind the point, or four that count; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return replace_minus(f"{value:,.{digits}f}" if digits is not None else f"{value:,.4g}")


def show_difference(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, or a 0 without."""
    if value is None:
        return "–"
    return replace_minus(f"{value:+,.{digits}f}") if round(value, digits) else f"{0:.{digits}f}"


def show_chance(p: float | None) -> str:
    """A p-value; below 0.0001 only that."""
    return "< 0.0001" if p is not None and p < 1e-4 else show_number(p, 4)


def show_share(value: float | None, digits: int = 1) -> str:
    """A share as per cent."""
    return "–" if value is None else replace_minus(f"{100 * value:.{digits}f} %")


def replace_minus(text: str) -> str:
    """With a true minus sign, as wide as the plus."""
    return text.replace("-", "−")
