"""What a cluster would not take: asked of Slurm before a job is submitted, and told with the key of remote.yaml."""

import subprocess
from typing import Any

from tunelock.remote.there.refusal import Refused
from tunelock.remote.there.slurm_calls import call_slurm, find_last_line
from tunelock.remote.there.slurm_nodes import count_minutes, has_what_is_asked, list_nodes, pick_nodes

_NOT_THERE = "node configuration is not available"
# What sbatch says, and what it means. https://slurm.schedmd.com/sbatch.html
_MEANINGS = {
    "Invalid partition name": "there is no partition '{partition}'; there are: {partitions}. Set `partition` in "
    "remote.yaml.",
    "Invalid account": "the account '{account}' may not be used with partition '{partition}'; set `account` in "
    "remote.yaml (`sacctmgr show associations user=$USER` there lists yours).",
    "Invalid qos": "the QOS is unknown or not open to your account; set `--qos` below `sbatch` in remote.yaml.",
    "time limit is invalid": "the time limit of {minutes} minutes is above what partition '{partition}' or its QOS "
    "allows; set a lower `time_limit` in remote.yaml.",
    "Invalid generic resource": "the cluster does not know '{gres}'; its nodes have {nodes}. Set `gres` in "
    "remote.yaml.",
    _NOT_THERE: "no node of partition '{partition}' has {cpus} CPUs, {memory} memory and '{gres}' together; its nodes "
    "have {nodes}. Change `cpus`, `memory`, `gres` or `partition` in remote.yaml.",
    "Memory specification can not": "no node of partition '{partition}' has {memory} memory; lower `memory` in "
    "remote.yaml.",
    "CPU count per node can not": "no node of partition '{partition}' has {cpus} CPUs; lower `cpus` in remote.yaml.",
    "More processors requested": "no node of partition '{partition}' has {cpus} CPUs; lower `cpus` in remote.yaml.",
    "accounting/QOS policy": "the job is above a limit of your account or QOS; ask for less, or wait until your other "
    "jobs have ended.",
    "Required partition not available": "partition '{partition}' takes no jobs now; take another `partition` in "
    "remote.yaml.",
    "unrecognized option": "sbatch does not know an option below `sbatch` in remote.yaml: {said}",
}


def refuse_impossible(order: dict[str, Any], options: list[str]) -> None:
    """Ask Slurm whether it would take a batch job with these options of sbatch.

    A time limit above the partition's is looked for here: most clusters take such a job and never start it. A job whose
    nodes are only down or drained may wait for them, though Slurm says of it what it says of one that fits nowhere.

    Raises:
        Refused: it would not, or there is no Slurm.
    """
    _refuse_long(order)
    done = call_slurm("sbatch", "--test-only", *options, given="#!/bin/sh\n")
    if done.returncode == 0:
        return
    if _NOT_THERE in done.stderr:
        chosen = pick_nodes(list_nodes(), order["slurm"]["partition"])
        if any(has_what_is_asked(one, order["slurm"]) for one in chosen):
            return
    raise explain_refusal(done, order)


def _refuse_long(order: dict[str, Any]) -> None:
    minutes, chosen = count_minutes(order["time_limit_s"]), pick_nodes(list_nodes(), order["slurm"]["partition"])
    limits = [one.limit for one in chosen if one.limit is not None]
    if limits and len(limits) == len(chosen) and minutes * 60 > max(limits):
        raise Refused(
            f"the time limit of {minutes} minutes is above that of partition '{chosen[0].partition}', which is "
            f"{max(limits) // 60} minutes; set a lower `time_limit` or another `partition` in remote.yaml."
        )


def explain_refusal(done: subprocess.CompletedProcess[str], order: dict[str, Any]) -> Refused:
    """Why sbatch did not take a job, in words that name the key of remote.yaml."""
    told = next((sentence for text, sentence in _MEANINGS.items() if text.lower() in done.stderr.lower()), None)
    if told is None:
        return Refused(f"Slurm did not take the job: {find_last_line(done)}")
    nodes = list_nodes()
    chosen = pick_nodes(nodes, order["slurm"]["partition"]) or nodes
    words = {key: value or "the default" for key, value in order["slurm"].items()}
    words |= {"partition": chosen[0].partition} if chosen and not order["slurm"]["partition"] else {}
    words |= {"minutes": count_minutes(order["time_limit_s"]), "said": done.stderr.splitlines()[0].partition(": ")[2]}
    words |= {"partitions": ", ".join(sorted({one.partition for one in nodes})) or "none"}
    return Refused(told.format(**words, nodes="; or ".join(sorted({str(one) for one in chosen})) or "nothing"))
