"""L2-SP (Li, Grandvalet and Davoine 2018, https://arxiv.org/abs/1802.01483): the squared distance to the base."""

from tunelock.training.penalties.penalty import Penalty, Replay


class L2(Penalty):
    """Every weight is pulled back alike."""

    name = "l2"
    summary = "to the base's weights"
    needs_moved_weights = True

    def build(self, model, weight: float, replay: Replay):
        from tunelock.training.penalties.displacement import Displacement

        return Displacement(model, weight)
