"""A preview as a person reads it: coloured at a terminal, with plain marks elsewhere."""

import json
import re
import sys
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tunelock.previewing.dropped_rows import DroppedRows
from tunelock.previewing.length_histogram import LengthClass, Lengths
from tunelock.previewing.shown_rows import Example, Piece
from tunelock.previewing.source_preview import LeftOutReason, Preview
from tunelock.records.record import text_of

LEARNT, CONTROL, DIM, WARNING = "bold green", "magenta", "dim", "yellow"
BAR = 16  # columns of the longest bar
WHOLE = 2400  # characters of a run of text that a terminal shows whole; of a longer one its beginning and its end
_UNSHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # they would move the cursor


class PreviewScreen:
    """Where previews are shown. Without a terminal there are no colours, no wrapping and nothing is left out."""

    def __init__(self, whole: bool, console: Console | None = None):
        """`whole` shows long texts whole at a terminal too."""
        self.console = console or Console(highlight=False)
        self.coloured = self.console.is_terminal and not self.console.no_color and self.console.color_system is not None
        self.limit = None if whole or not self.console.is_terminal else WHOLE

    def show_preview(self, name: str | None, preview: Preview) -> None:
        """One source, or the file that a person named (`name` is None)."""
        if name:
            self._say(f"source {name}", "bold")
        for file, kind in preview.formats.items():
            self._say(f"{file}: {kind}")
        left_out = sum(preview.left_out.values())
        more = "the first " if preview.more_rows else ""
        self._say(f"{more}{preview.records + left_out} rows read: {preview.records} records, {left_out} left out")
        self._show_reasons(preview.reasons)
        for column in preview.unused:
            why = f", {column['why']}" if column["why"] else ""
            self._say(
                f"    no part of a record: {column['name']} ({column['rows']} rows{why}), such as {column['sample']}",
                WARNING,
            )
        if preview.markup:
            self._say(f"    {preview.markup}", WARNING)
        if preview.lengths:
            self._show_lengths(preview.lengths)
        self.show_examples(preview.examples, preview.more_examples)

    def show_dropped(self, dropped: DroppedRows) -> None:
        """Rows that stages left out."""
        rows = sum(reason.rows for reason in dropped.reasons)
        self._say(f"{rows} rows were left out by ingest, clean and split")
        self._show_reasons(dropped.reasons)
        self.show_examples(dropped.examples, dropped.more_examples)

    def show_examples(self, examples: list[Example], more: int) -> None:
        """Rows one below the other, and the legend."""
        for example in examples:
            self._show_example(example)
        if more:
            self._say(f"\n{more} rows more; --number shows more of them.", DIM)
        if any(example.pieces for example in examples):
            self._show_legend()

    def _show_reasons(self, reasons: Iterable[LeftOutReason]) -> None:
        for reason in reasons:
            self._say(f"    {reason.reason}: {reason.rows}", WARNING)
            ruled = f" ({reason.ruled_by})" if reason.ruled_by else ""
            self._say(f"        {reason.words}{ruled}")
            self._say(f"        such as {reason.example}", DIM, one_line=True)

    def _show_lengths(self, lengths: list[Lengths]) -> None:
        """The histograms beside each other at a terminal that has room, else one below the other."""
        made = [_draw_lengths(one, self.coloured) for one in lengths]
        if self.console.is_terminal and self.console.width >= 40 * len(made):
            table = Table.grid(padding=(0, 4))
            table.add_row(*made)
            self.console.print(Padding(table, (1, 0, 0, 0)))
            return
        for one in made:
            self._say("")
            self.console.print(one, soft_wrap=True)

    def _show_example(self, example: Example) -> None:
        place = f"--- {example.file}, row {example.line}"
        if example.task is not None:
            place += f", task {example.task}, group {example.group}"
        self._say(f"\n{place}", "bold")
        if example.id:
            self._say(example.id, DIM)
        counts = [f"{example.tokens} tokens, {example.supervised_tokens} of them learnt from"] if example.tokens else []
        if counts or example.remarks:
            self._say(", ".join([*counts, *example.remarks]))
        self._print_text(self._write_text(example))

    def _write_text(self, example: Example) -> Text:
        """What the row says: coloured pieces, a token a line, messages, or the row itself where it is no record."""
        if example.raw is not None:
            return Text(_clean(example.raw))
        if example.text is None:
            return Text(self._write_messages(example))
        if "".join(piece.text for piece in example.pieces) not in (example.text, _without_marks(example.text)):
            return Text(_clean(example.text))  # token by token
        text = Text()
        for piece in example.pieces:
            shown = self._shorten_text(_clean(piece.text))
            text.append(shown, style=_choose_style(piece))
        text.rstrip()
        return text if self.coloured else Text(_clean(example.text.rstrip("\n")))

    def _write_messages(self, example: Example) -> str:
        """The messages of a row that is not rendered, as people read them at a terminal, else as JSON."""
        if not self.console.is_terminal:
            return json.dumps(example.messages, indent=2, ensure_ascii=False)
        return "\n".join(_clean(f"{message['role']}: {text_of(message)}") for message in example.messages)

    def _shorten_text(self, text: str) -> str:
        """A long text without its middle, at a terminal."""
        if self.limit is None or len(text) <= self.limit:
            return text
        part = self.limit // 3
        return f"{text[:part]}\n[… {len(text) - 2 * part:,} characters more, --whole shows them …]\n{text[-part:]}"

    def _print_text(self, text: Text) -> None:
        self.console.print(text, soft_wrap=not self.console.is_terminal)

    def _show_legend(self) -> None:
        if not self.coloured:
            print("What the model learns from stands between ⟦ and ⟧; the rest is read.", file=sys.stderr)
            return
        legend = Text("\n")
        for words, style in (("learnt from", LEARNT), ("read, not learnt from", ""), ("control token", CONTROL)):
            legend.append("■ ", style=style)
            legend.append(f"{words}   ", style=DIM)
        self.console.print(legend)

    def _say(self, line: str, style: str = "", one_line: bool = False) -> None:
        """Print a line; one that is `one_line` ends where the terminal does."""
        ends = {"no_wrap": True, "overflow": "ellipsis"} if one_line else {}
        self.console.print(Text(_clean(line), style=style), **ends if self.console.is_terminal else {"soft_wrap": True})


def _choose_style(piece: Piece) -> str:
    if piece.learnt:
        return f"{LEARNT} underline" if piece.control else LEARNT
    return CONTROL if piece.control else ""


def _without_marks(text: str) -> str:
    return text.replace("⟦", "").replace("⟧", "")


def _clean(text: str) -> str:
    """A text without characters that would move the cursor or turn the line around."""
    return _UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", text)


def _draw_lengths(lengths: Lengths, coloured: bool) -> RenderableType:
    """One histogram: a line a class, the limit among them, the figures below."""
    limit = f" (max_length {lengths.limit:,})" if lengths.limit else ""
    lines = [Text(f"{lengths.unit} of a row{limit}", style="bold")]
    most = max(one.rows for one in lengths.classes)
    width = max(len(_name_class(one)) for one in lengths.classes)
    for one in lengths.classes:
        if lengths.limit and lengths.above_limit and one.start == lengths.limit + 1:
            lines.append(Text(f"{'':>{width}} ── max_length {lengths.limit:,} ──", style=WARNING))
        lines.append(_draw_class(one, width, most, lengths.limit))
    lines.append(
        Text(f"median {lengths.median:,}, 95 % {lengths.keeps_95_percent:,}, longest {lengths.longest:,}", style=DIM)
    )
    if lengths.above_limit:
        share = lengths.above_limit / lengths.rows
        lines.append(Text(f"{lengths.above_limit:,} of {lengths.rows:,} above it ({share:.1%})", style=WARNING))
    return Group(*lines)


def _draw_class(one: LengthClass, width: int, most: int, limit: int | None) -> Text:
    bar = "█" * max(1 if one.rows else 0, round(BAR * one.rows / most))
    above = limit is not None and one.start > limit
    line = Text(f"{_name_class(one):>{width}} ")
    line.append(bar, style="red" if above else "green")
    return line.append(f" {one.rows:,}", style=DIM)


def _name_class(one: LengthClass) -> str:
    if one.stop is None:
        return f"{one.start:,} on"
    return f"{one.start:,}" if one.stop == one.start + 1 else f"{one.start:,}-{one.stop - 1:,}"
