"""Why a job waits in Slurm's queue, or how it ended without a word of its own, as a sentence."""

import re

# https://slurm.schedmd.com/resource_limits.html and squeue(1), "JOB REASON CODES"
_WAITS = {
    "None": "Slurm has not looked at it yet",
    "Priority": "other jobs have a higher priority",
    "Resources": "it waits for free nodes",
    "BeginTime": "it starts again in a moment",
    "JobHeldUser": "it is held; `scontrol release` there lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "JobArrayTaskLimit": "as many tasks of its sweep run as may at a time",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "it waits for a job that failed, so it never starts; cancel it",
    "PartitionDown": "its partition is down",
    "PartitionInactive": "its partition is switched off",
    "PartitionTimeLimit": "its time limit is above that of its partition, so it never starts; cancel it and set a "
    "lower `time_limit` in remote.yaml",
    "PartitionNodeLimit": "it asks for more nodes than its partition allows; cancel it",
    "Reservation": "it waits for its reservation",
    "Licenses": "it waits for a licence",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node has what it asks for, so it never starts; cancel it",
    "InvalidAccount": "its account is not valid; cancel it and set `account` in remote.yaml",
    "InvalidQOS": "its QOS is not valid; cancel it and set `--qos` below `sbatch` in remote.yaml",
    "Cleaning": "its last attempt is being cleaned up",
}
_STARTS = {
    "Assoc": "a limit of your account is reached ({reason})",
    "QOS": "a limit of its QOS is reached ({reason})",
    "Max": "a limit of the cluster is reached ({reason})",
    "ReqNodeNotAvail": "its nodes are down, drained or reserved, as for maintenance",
    "Nodes required for job are DOWN": "its nodes are down, drained or reserved",
    "launch failed requeued held": "its node could not start it, and it is held; `scontrol release` tries again",
}
_AGAIN = "`tunelock remote resume {job}` goes on from its checkpoint"
_ENDED = {
    "TIMEOUT": "its time limit was over before it could stop by itself; {again}, and a higher `time_limit` or "
    "`signal_before` in remote.yaml helps.",
    "OUT_OF_MEMORY": "it used more memory than it asked for and was killed; set a higher `memory` in remote.yaml, and "
    "{again}.",
    "NODE_FAIL": "its node failed; {again}.",
    "BOOT_FAIL": "its node did not start; {again}.",
    "PREEMPTED": "it had to make room for another job; {again}.",
    "DEADLINE": "its deadline was over; {again}.",
    "CANCELLED": "it was cancelled in Slurm (scancel), not by tunelock; {again}.",
}
_NO_FOLDER = 53  # what Slurm reports when it could not open the log on the node
EX_CONFIG = 78  # of sysexits.h: what the batch script ends with when `setup` failed


def explain_wait(reason: str, expected: str = "") -> str:
    """The sentence for Slurm's reason code; `expected` is the start that it plans, as `YYYY-MM-DDTHH:MM:SS` there."""
    words = _WAITS.get(reason)
    if words is None:
        found = [sentence for start, sentence in _STARTS.items() if reason.startswith(start)]
        words = found[0].format(reason=reason) if found else f"Slurm says {reason}"
    known = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d", expected)
    return f"{words}; Slurm expects to start it on {known[1]} at {known[2]}" if known else words


def explain_end(job: str, state: str, exit_code: str, folder: str, last: str) -> str:
    """The cause for a job that ended without one of its own.

    `exit_code` is Slurm's `code:signal`, `last` the last line of the log; both may be empty.
    """
    again, signal = _AGAIN.format(job=job), int(exit_code.partition(":")[2] or 0)
    if signal == _NO_FOLDER:
        return f"its node could not write to {folder}; choose a `folder` in remote.yaml that every node sees."
    if "oom-kill" in last or "oom_kill" in last:
        state = "OUT_OF_MEMORY"
    if state in _ENDED:
        return _ENDED[state].format(again=again)
    if signal:
        return f"it was killed from outside (signal {signal}); {again}."
    told = f": {last}" if last else " and left no word"
    return f"it broke off{told}; {again}."
