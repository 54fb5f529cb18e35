"""Elastic weight consolidation (Kirkpatrick et al. 2017, https://arxiv.org/abs/1612.00796)."""

from tunelock.training.penalties.penalty import Penalty, Replay

FISHER_ROWS = 64  # a backward pass each, before training: a minute on a core for 135M parameters and rows of 130 tokens


class Ewc(Penalty):
    """A weight is pulled back by as much as the base's answers to the replay rows depend on it."""

    name = "ewc"
    summary = "to the base's weights, by their importance for the replay rows"
    needs_replay = True
    needs_moved_weights = True
    needs_gradients = True

    def build(self, model, weight: float, replay: Replay):
        from tunelock.training.penalties.displacement import Displacement
        from tunelock.training.penalties.replay import draw_rows

        return Displacement(model, weight, draw_rows(replay.rows, replay.seed, FISHER_ROWS))
