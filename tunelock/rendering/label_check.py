"""Whether the labels of rendered rows are the answers of their records: what is learnt is what was meant."""

from transformers import PreTrainedTokenizerBase

from tunelock.records.record import Record, is_learnt, is_text
from tunelock.rendering.rendering import IGNORE, RenderedRow, Rendering, find_end_token, select_messages


def find_mislabelled(
    tokenizer: PreTrainedTokenizerBase, records: list[Record], rows: list[RenderedRow], rendering: Rendering
) -> list[str]:
    """The ids of rows whose labels, decoded, are not the answers with their end tokens, no more and no less.

    White space does not count: templates trim it, and some tokenizers put some before a text.
    """
    wanted = {}
    for record in records:
        end = tokenizer.eos_token if is_text(record) else tokenizer.decode([find_end_token(tokenizer)])
        learnt = filter(is_learnt, select_messages(record, rendering))
        wanted[record["id"]] = _drop_space("".join(message["content"] + end for message in learnt))
    found = []
    for row in rows:
        labels = tokenizer.decode([label for label in row["labels"] if label != IGNORE])
        if _drop_space(labels) != wanted[row["id"]]:
            found.append(row["id"])
    return found


def _drop_space(text: str) -> str:
    return "".join(text.split())
