"""What fine-tuning made the model forget: metrics/retention.json, from both models' rows of general questions.

retention: exp(mean over the references' tokens of the base's loss - the tuned model's loss). It is the share of the
probability a token (geometric mean) that the tuned model still gives to the references; 1 is nothing forgotten, 0.9 is
10 % less for each token. Its interval is a bootstrap over groups of questions.
general_contrast_base, _tuned, _change: by how many nats a token an answer is likelier behind its own question than
behind another one of the same task (`tunelock.answering.contrast`). The tokens are the same twice, so their style
falls out of it, and what is left is whether the model can tell which answer belongs to a question. The change has an
interval. Questions with options have no contrast.
general_kl: the mean over the references' tokens of KL(base || tuned) of the next-token distribution, in nats.
general_accuracy_base, _tuned: the share of the questions with a list of lines "- option" whose right option is the
likeliest answer (summed log-likelihood, without the end token); general_accuracy_chance: what guessing would give.
Absent where no question has such a list.

Limits. Retention looks at one reference answer and at likelihood alone. Where the references are in the style of the
training data (short, plain, without preamble), learning that style raises it, above 1 even, and hides what was lost:
SmolLM2-135M after the default job has a retention of 1.5 and answers "Name three fruits." with no fruit. Read it with
the contrast, which knows no style, and with the divergence, which knows no reference: it counts every change, for
better or worse, and is 0 for the base alone.
"""

import math

from tunelock.claims.comparison import Compared, compare_models
from tunelock.claims.uncertainty import Interval, compare_scores
from tunelock.metrics.registry import METRICS
from tunelock.records.scored_row import ScoredRow

GENERAL_METRICS = ("loss", "contrast", "choice_accuracy", "choice_chance")


def measure_retention(base: list[ScoredRow], tuned: list[ScoredRow], level: float, samples: int) -> dict[str, float]:
    """The metrics of the general rows. Too few groups for an interval have none."""
    measured = compare_models(base, tuned, [METRICS[name] for name in GENERAL_METRICS])
    loss = _bound_change(measured["loss"], base, level, samples)
    found = {
        "retention": math.exp(-loss.difference),
        "general_perplexity_base": math.exp(loss.base),
        "general_perplexity_tuned": math.exp(loss.tuned),
        "general_kl": sum(row["kl"] for row in tuned) / sum(row["tokens"] for row in tuned),
        "general_rows": len(tuned),
    }
    if loss.low is not None and loss.high is not None:
        found |= {"retention_low": math.exp(-loss.high), "retention_high": math.exp(-loss.low)}
    if "contrast" in measured:
        found |= _name_contrasts(_bound_change(measured["contrast"], base, level, samples))
    if "choice_accuracy" in measured:
        right = measured["choice_accuracy"].score_both()
        found |= {"general_accuracy_base": right[0], "general_accuracy_tuned": right[1]}
        found["general_accuracy_chance"] = measured["choice_chance"].score_both()[1]
    return found


def _bound_change(one: Compared, rows: list[ScoredRow], level: float, samples: int) -> Interval:
    """The change of a metric with its interval over groups of questions."""
    groups = [rows[place]["group"] for place in one.places]
    return compare_scores(one.statistics, one.metric.score, groups, level, samples)


def _name_contrasts(found: Interval) -> dict[str, float]:
    """The contrast of both models and its change under their names."""
    named = {
        "general_contrast_base": found.base,
        "general_contrast_tuned": found.tuned,
        "general_contrast_change": found.difference,
    }
    if found.low is not None and found.high is not None:
        named |= {"general_contrast_change_low": found.low, "general_contrast_change_high": found.high}
    return named
