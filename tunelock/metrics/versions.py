"""What metrics/versions.json says of each metric, apart from `metrics`, whose library takes seconds to import."""

from collections.abc import Callable
from importlib.metadata import version
from typing import NamedTuple

from sacrebleu.metrics import BLEU, CHRF


class Definition(NamedTuple):
    """`version` rises whenever a metric's figures can change; `source` is where the method comes from.

    `signature` says how a library that counts differently by its settings does it here.
    """

    version: str
    source: str = ""
    signature: Callable[[], str] | None = None

    def told(self) -> dict[str, str]:
        """The definition as metrics/versions.json has it."""
        fixed = {"version": self.version, "source": self.source}
        return fixed | ({"signature": self.signature()} if self.signature else {})


def of_sacrebleu(scorer: BLEU | CHRF) -> str:
    """sacrebleu's own signature of a scorer with one reference a row."""
    scorer.corpus_score(["a"], [["a"]])  # or it does not know how many references there are
    return str(scorer.get_signature())


DEFINITIONS = {
    "bleu": Definition("1.0.0", "https://aclanthology.org/W18-6319", lambda: of_sacrebleu(BLEU())),
    "chrf": Definition("1.0.0", "https://aclanthology.org/W15-3049", lambda: of_sacrebleu(CHRF())),
    "rouge_l": Definition(
        "1.0.0", "https://aclanthology.org/W04-1013", lambda: f"rouge-score {version('rouge-score')}, stemmer"
    ),
    "exact_match": Definition("1.0.0", "https://arxiv.org/abs/1606.05250"),
    "token_f1": Definition("1.0.0", "https://arxiv.org/abs/1606.05250"),
    "accuracy": Definition(
        "1.0.0", "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.accuracy_score.html"
    ),
    "macro_f1": Definition("1.0.0", "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.f1_score.html"),
    "choice_accuracy": Definition("1.0.0", "https://doi.org/10.5281/zenodo.5371628"),
    "choice_accuracy_norm": Definition("1.0.0", "https://doi.org/10.5281/zenodo.5371628"),
    "stop_rate": Definition("1.0.0"),
    "mean_length": Definition("1.0.0"),
    "repetition": Definition("1.0.0", "https://arxiv.org/abs/1510.03055"),
    "format_valid": Definition("1.0.0"),
    "calibration_error": Definition("1.0.0", "https://arxiv.org/abs/1706.04599"),
}


def versions() -> dict[str, dict[str, str]]:
    """The definition of each metric by its name."""
    return {name: definition.told() for name, definition in DEFINITIONS.items()}
