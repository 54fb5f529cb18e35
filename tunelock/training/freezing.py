"""Full tuning of a part of the model: frozen embeddings, frozen first layers, and layers that thaw on a schedule.

A frozen weight keeps its bits, and takes no gradient and no optimiser state. Below the lowest trained weight autograd
does nothing at all, which is the time that frozen first layers save; trained embeddings make it go all the way down.
"""

import math
from typing import NamedTuple

from torch import nn
from torch.optim import Optimizer
from transformers import PreTrainedModel, TrainerCallback

from tunelock.run.errors import Stop


class Phase(NamedTuple):
    """Layers `first` to `last` (from 0, both included), trained from share `at` of all optimiser steps on."""

    at: float
    first: int
    last: int
    learning_rate: float
    parameters: list[nn.Parameter]

    def start(self, max_steps: int) -> int:
        """The first optimiser step, counted from 0, in which the phase's layers are trained."""
        return math.ceil(round(self.at * max_steps, 6))  # rounded, or 0.1 * 30 would be above 3


def freeze_parts(
    model: PreTrainedModel, freeze_embeddings: bool, freeze_layers: int, unfreeze_schedule: list[dict] | None
) -> "GradualUnfreezing":
    """Freeze embeddings and the first `freeze_layers` decoder layers, but for what `unfreeze_schedule` trains later.

    A head that is tied to the embeddings is the same matrix, so it is frozen with them; a head of its own is trained.
    The scheduled layers still ask for a gradient when this returns, so that whoever looks for what will be trained
    (the optimiser, `tunelock.training.penalties.all_penalties`) finds them. The callback freezes them when training
    begins.

    Args:
        unfreeze_schedule: entries with `at` (share of all optimiser steps), `layers` (how many) and `learning_rate`;
            each thaws the highest layers that are still frozen then.

    Returns:
        The callback for the trainer.

    Raises:
        Stop: more layers are to be frozen than there are, or to be thawed than are frozen.
    """
    layers = find_decoder_layers(model)
    if freeze_layers > len(layers):
        raise Stop(f"freeze_layers is {freeze_layers}, but the model has {len(layers)} layers; lower it.")
    phases = _plan_phases(layers[:freeze_layers], unfreeze_schedule or [])
    still = phases[-1].first if phases else freeze_layers
    for module in [*layers[:still], *(_find_embeddings(model) if freeze_embeddings else [])]:
        module.requires_grad_(False)
    return GradualUnfreezing(phases)


def _plan_phases(frozen: nn.ModuleList, schedule: list[dict]) -> list[Phase]:
    """The phases of a schedule in the order of their start, from the top of the frozen layers downwards."""
    wanted = sum(entry["layers"] for entry in schedule)
    if wanted > len(frozen):
        raise Stop(
            f"unfreeze_schedule trains {wanted} layers, but freeze_layers freezes {len(frozen)}; raise freeze_layers "
            "or take entries out of the schedule."
        )
    phases, end = [], len(frozen)
    for entry in sorted(schedule, key=lambda entry: entry["at"]):
        first = end - entry["layers"]
        parameters = list(frozen[first:end].parameters())
        phases.append(Phase(entry["at"], first, end - 1, entry["learning_rate"], parameters))
        end = first
    return phases


def find_decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder's stack of layers, under whatever name: its longest list of modules."""
    stacks = [child for child in model.get_decoder().children() if isinstance(child, nn.ModuleList)]
    if not stacks:
        raise Stop(
            f"{type(model).__name__} has no list of layers; set freeze_layers to 0 and unfreeze_schedule to null."
        )
    return max(stacks, key=len)


def _find_embeddings(model: PreTrainedModel) -> list[nn.Module]:
    """The embeddings of tokens, and of positions where a model learns them (GPT-2)."""
    learnt = [child for child in model.get_decoder().children() if isinstance(child, nn.Embedding)]
    return [model.get_input_embeddings(), *learnt]


class GradualUnfreezing(TrainerCallback):
    """Trains each phase's layers from its start on (gradual unfreezing, Howard and Ruder 2018, section 3.3 of ULMFiT,
    https://arxiv.org/abs/1801.06146).

    Nothing but the step decides, so a resumed run thaws at the same one. The optimiser's parameter groups are there
    from the start, as a checkpoint's optimiser state needs them to be; parameters without a gradient are passed over
    by PyTorch's and bitsandbytes' optimisers, weight decay included, and get their state at their first step.
    """

    def __init__(self, phases: list[Phase]):
        self.phases = phases

    def own_rates(self, optimizer: Optimizer) -> Optimizer:
        """Move the phases' parameters to parameter groups with their learning rates; call it before the scheduler is
        made, and once.

        Each new group has the other settings (weight decay, betas) of the group it comes from. The scheduler multiplies
        every group's rate by the same factor, so warm-up and decay have the same shape for all.
        """
        for group in list(optimizer.param_groups):
            for phase in self.phases:
                chosen = {id(parameter) for parameter in phase.parameters}
                moved = [parameter for parameter in group["params"] if id(parameter) in chosen]
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in chosen]
                if moved:
                    optimizer.add_param_group({**group, "params": moved, "lr": phase.learning_rate})
        return optimizer

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        # With gradient checkpointing transformers has the embeddings' output ask for a gradient. Only checkpointing of
        # the reentrant kind needs that, which is not the default; here it would undo what frozen layers save.
        model.disable_input_require_grads()

    def on_step_begin(self, args, state, control, **kwargs):
        for phase in self.phases:
            trained, start = phase.parameters[0].requires_grad, phase.start(state.max_steps)
            due = state.global_step >= start
            if due and state.global_step == start:
                print(f"step {start + 1}: layers {phase.first} to {phase.last} are trained from here on")
            if due != trained:
                for parameter in phase.parameters:
                    parameter.requires_grad_(due)
