"""Looks at the curves while training goes on, and says at once what is wrong with them."""

import sys

from transformers import TrainerCallback

from tunelock.diagnosis.diagnosis import describe_verdict, diagnose_run
from tunelock.run.params import load_yaml


class Doctor(TrainerCallback):
    """Prints each new verdict (`tunelock.diagnosis.diagnosis`) after a validation, with the commands to try.

    The commands need params that training does not depend on. So they are read here and not declared by the stage:
    what is printed is no part of its result.
    """

    def __init__(self):
        self.settings, self.named = load_yaml("params.yaml"), set()

    def on_evaluate(self, args, state, control, **kwargs):
        for verdict in diagnose_run(state.log_history, self.settings):
            if verdict.name not in self.named:
                self.named.add(verdict.name)
                print("\n" + describe_verdict(verdict), file=sys.stderr)
