"""How much memory of the machine this process may still take. Standard library only: it is asked before pip ran."""

import os
import resource
from pathlib import Path

_CONTROL_GROUPS = (  # (limit, use) of cgroup v2 and v1: a container has less than its machine
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def measure_free_ram() -> int:
    """Bytes that are free on the machine and below the limits of this process."""
    return min([_free_on_machine(), *_free_in_control_groups(), *_free_address_space()])


def _free_on_machine() -> int:
    """Free bytes, caches that can be dropped included; where Linux does not say it, all the memory there is."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_in_control_groups() -> list[int]:
    """Free bytes below the limits of control groups, as containers and batch jobs have them."""
    found = []
    for limit, used in _CONTROL_GROUPS:
        try:
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such file, or no limit ("max")
            continue
    return found


def _free_address_space() -> list[int]:
    """Free bytes below `ulimit -v`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or not Path("/proc/self/statm").exists():
        return []
    return [limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()]
