"""Learning without forgetting (Li and Hoiem 2016, https://arxiv.org/abs/1606.09282): the answers' divergence."""

from tunelock.training.penalties.penalty import Penalty, Replay

KL_ROWS = 512  # a forward pass each, before training: a minute on a core


class Kl(Penalty):
    """The base's answers to the replay rows are taught beside the task."""

    name = "kl"
    summary = "to the base's answers"
    needs_replay = True

    def build(self, model, weight: float, replay: Replay):
        from tunelock.training.penalties.kl_divergence import Divergence
        from tunelock.training.penalties.replay import draw_rows

        rows = draw_rows(replay.rows, replay.seed, KL_ROWS)
        return Divergence(model, weight, rows, replay.batch_size, replay.seed)
