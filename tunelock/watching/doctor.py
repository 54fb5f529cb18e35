"""Looks at the curves while training goes on, and says at once what is wrong with them."""

import sys

from transformers import TrainerCallback

from tunelock.diagnosis.diagnosis import describe_verdicts, diagnose_run
from tunelock.diagnosis.remedies import compose_remedy
from tunelock.run.params import load_yaml


class Doctor(TrainerCallback):
    """Prints each new verdict (`tunelock.diagnosis.diagnosis`) after a validation, and what to try against all.

    The commands need params that training does not depend on. So they are read here and not declared by the stage:
    what is printed is no part of its result.
    """

    def __init__(self):
        self.settings, self.named = load_yaml("params.yaml"), set()

    def on_evaluate(self, args, state, control, **kwargs):
        verdicts = diagnose_run(state.log_history, self.settings)
        fresh = [verdict for verdict in verdicts if verdict.name not in self.named]
        if fresh:
            self.named |= {verdict.name for verdict in fresh}
            print("\n" + describe_verdicts(fresh, compose_remedy(verdicts, self.settings)), file=sys.stderr)
