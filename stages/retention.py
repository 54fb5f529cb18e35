"""What fine-tuning made the model forget: base and tuned on general questions that have nothing to do with the domain.

    python -m stages.retention

Reads models/base, models/merged and `general_source`, any source that `stages.ingest` could read (local files belong
into data/general, which DVC watches); writes models/evaluation/general.jsonl, a row a question, and
metrics/retention.json:

retention: exp(mean over the answers' tokens of the base's loss - the tuned model's loss). It is the share of the
probability a token (geometric mean) that the tuned model still gives to the reference answers; 1 is nothing
forgotten, 0.9 is 10 % less for each token. Its interval is a bootstrap over groups of questions.
general_contrast_base, _tuned, _change: by how many nats a token an answer is likelier behind its own question than
behind another one of the same task (`tunelock.answering.contrast`). The tokens are the same twice, so their style
falls out of it, and what is left is whether the model tells which answer belongs to a question. The change has an
interval. general_kl: the mean over the answers' tokens of KL(base || tuned) of the next-token distribution, in nats.
general_accuracy_base, _tuned: the share of the questions with a list of lines "- option" whose right option is the
likeliest answer (summed log-likelihood, without the end token). Absent where no question has such a list.

Limits. Retention looks at one reference answer and at likelihood alone. Where the references are in the style of the
training data (short, plain, without preamble), learning that style raises it, above 1 even, and hides what was lost:
SmolLM2-135M after the default job has a retention of 1.5 and answers "Name three fruits." with no fruit. Read it with
the contrast, which knows no style, and with the divergence, which knows no reference: it counts every change, for
better or worse, and is 0 for the base alone.
"""

import gc
import itertools
from collections import Counter
from collections.abc import Iterable

from tunelock.answering.choices import listed, option_row, with_answer
from tunelock.answering.contrast import others
from tunelock.answering.forgetting import Compared, Predictions, compare, predictions, targets_of
from tunelock.claims.retained import retained
from tunelock.model.modeling import make_deterministic
from tunelock.model.tuned import load_tuned
from tunelock.reading.local_files import GENERAL
from tunelock.reading.reading import Source, read_source
from tunelock.records.record import question_in, reference_of
from tunelock.rendering.rendering import (
    RENDERING_PARAMS,
    Rendering,
    load_tokenizer,
    render_messages,
    render_records,
    select_messages,
)
from tunelock.run.errors import Stop
from tunelock.run.files import write_json, write_jsonl
from tunelock.run.stage import stage

MODELS = {"base": "models/base", "tuned": "models/merged"}
OPTION = r"^- (.+)$"  # a line of a question that is one of the answers to choose from


def general_records(source: Source) -> tuple[list[dict], Counter]:
    """The records of the general source, and how many of its rows are none, by reason; a row that is there twice counts
    once."""
    found, left_out = {}, Counter()
    for row in read_source("general_source", source, GENERAL):
        reason = row["reason"] if "status" in row else "twice" if row["id"] in found else None
        if reason:
            left_out[reason] += 1
        else:
            found[row["id"]] = row
    return list(found.values()), left_out


def questions(tokenizer, records: list[dict], rendering: Rendering) -> tuple[list[dict], list[list[dict]]]:
    """The records that fit into `max_length`, as rows of general.jsonl but for the models' part, and rendered.

    Rendered are for each row the reference answer, then each of the options, if the question has some, or else the
    answer of another row. What does not fit of these two is left out.
    """
    own = {row["id"]: row for row in render_records(tokenizer, records, rendering).rows}
    asked = [record for record in records if record["id"] in own]
    said = [select_messages(record, rendering) for record in asked]
    choices = [listed(messages, OPTION) for messages in said]
    free = [number for number, listing in enumerate(choices) if not listing]
    lengths = [len(targets_of(own[asked[number]["id"]])) for number in free]
    wrong = {
        number: asked[free[other]]
        for number, other in zip(free, others([asked[number] for number in free], lengths))
        if other is not None
    }
    rows, families = [], []
    for number, (record, messages, listing) in enumerate(zip(asked, said, choices)):
        row = {key: record[key] for key in ("id", "group", "task")} | {"reference": reference_of(record)}
        row["question"] = question_in(select_messages(record, rendering))
        if listing:
            more = {"choices": listing[0], "right": listing[1]}
            family = [option_row(tokenizer, messages, choice) for choice in listing[0]]
        elif other := wrong.get(number):
            more = {"other_id": other["id"]}
            family = [render_messages(tokenizer, with_answer(messages, reference_of(other)))._asdict()]
        else:
            more, family = {}, []
        if any(len(member["input_ids"]) > rendering.max_length for member in family):
            more, family = {}, []
        rows.append(row | more)
        families.append([own[record["id"]], *family])
    return rows, families


def ask(folder: str, dtype: str, families: list[list[dict]], batch_size: int) -> Predictions:
    """What the model in a folder predicts; but for its head it is gone from memory afterwards."""
    found = predictions(load_tuned(folder, dtype), families, batch_size)
    gc.collect()
    return found


def with_values(rows: list[dict], compared: Iterable[Compared]) -> list[dict]:
    """The rows with what the models made of them; `compared` is in the order of the families of `questions`."""
    compared, found = iter(compared), []
    for row in rows:
        values = next(compared)._asdict()
        if "other_id" in row:
            tokens, *losses, _ = next(compared)
            values |= {"other_tokens": tokens, "other_loss_base": losses[0], "other_loss_tuned": losses[1]}
        if "choices" in row:
            options = list(itertools.islice(compared, len(row["choices"])))
            values["choice_losses_base"] = [option.loss_base for option in options]
            values["choice_losses_tuned"] = [option.loss_tuned for option in options]
        found.append(row | values)
    return found


@stage("retention")
def main(params, _fingerprint) -> str:
    make_deterministic(0, params.num_threads)
    records, left_out = general_records(Source(**params.general_source))
    rendering = Rendering(**params.select(RENDERING_PARAMS))
    rows, families = questions(load_tokenizer(MODELS["base"]), records, rendering)
    left_out["longer than max_length"] += len(records) - len(rows)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()) if count)
    if not rows:
        raise Stop(f"general_source: no row is left ({reasons}); mend the source or raise max_length.")
    base, tuned = (ask(folder, params.dtype, families, params.eval_batch_size) for folder in MODELS.values())
    rows = with_values(rows, compare(base, tuned, list(itertools.chain(*families))))
    metrics = retained(rows, params.confidence_level, params.bootstrap_samples)
    write_jsonl("models/evaluation/general.jsonl", rows)
    write_json("metrics/retention.json", metrics)
    return f"models/evaluation/general.jsonl: {len(rows)} rows" + (f"; left out: {reasons}" if reasons else "")


if __name__ == "__main__":
    main()
