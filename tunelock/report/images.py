"""A chart as text for a page or as bytes of a PNG; both are the same for the same chart.

`encode_svg` gives text that a page colours by its own variables (`--chart-tuned`, …), so it may be dark or light;
`encode_png` gives bytes on white.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import quoteattr

from matplotlib import rc_context
from matplotlib.figure import Figure

from tunelock.report.style import COLOURS, STYLE
from tunelock.report.text import reveal_unseen

UNSAID = ("Creator", "Date", "Format", "Type")
NOT_OURS = (
    "<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>|font-family: [^;]*; "  # fonts and rules are the page's
)
SVG = (
    'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
    'stroke-linejoin="round" font-family="system-ui, sans-serif"'
)


@contextmanager
def _ignore_missing_glyphs() -> Iterator[None]:
    """No warning where matplotlib's font lacks a character: a page draws it with its own, a PNG shows a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def encode_svg(figure: Figure, name: str, title: str) -> str:
    """A figure as an `<svg>` element for a page.

    Args:
        figure: what one of the functions of `tunelock.report.charts` returns.
        name: a word; it begins every id in the element, so that several can stand in one page.
        title: what it shows, for those who hear the page.
    """
    out = io.StringIO()
    with rc_context(STYLE), _ignore_missing_glyphs():
        figure.savefig(out, format="svg", facecolor="none", metadata=dict.fromkeys(UNSAID))
    svg = out.getvalue()
    box = re.search(r'viewBox="[^"]+"', svg)[0]
    body = svg[svg.index(">", svg.index("<svg")) + 1 :].strip()
    body = re.sub(NOT_OURS, "", body, flags=re.DOTALL)
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    for key, colour in COLOURS.items():
        body = body.replace(colour, f"var(--chart-{key}, {colour})")
    return f"<svg {SVG} {box} aria-label={quoteattr(reveal_unseen(title))}>\n{body}\n"


def encode_png(figure: Figure, dots_an_inch: int = 160) -> bytes:
    """A figure as a PNG on white, 900 pixels wide."""
    out = io.BytesIO()
    with rc_context(STYLE), _ignore_missing_glyphs():
        figure.savefig(out, format="png", dpi=dots_an_inch, facecolor="white", metadata={"Software": None})
    return out.getvalue()
