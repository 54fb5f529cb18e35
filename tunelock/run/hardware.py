"""What a machine is, as far as results may hang on it. Standard library alone: a host is asked before pip ran there.

No host name, no user, no path: it stands in git. TUNELOCK_MACHINE names the machine where its owner wants that.
"""

import os
import platform
import re
from importlib import metadata
from pathlib import Path

# Extensions of x86 for which torch and oneDNN have kernels of their own, so that other bits come out.
_KERNEL_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16")
_GPUS = "/proc/driver/nvidia/gpus"


def describe_machine() -> dict[str, str | int]:
    """Processor, cores, GPUs, driver, system and Python, by name; what there is not is left out."""
    found = {
        "name": os.environ.get("TUNELOCK_MACHINE"),
        "cpu": read_field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "cpu_extensions": " ".join(_list_extensions()),
        "cores": os.cpu_count(),
        "gpu": ", ".join(list_gpu_names()),
        "gpu_driver": _read_first_line("/sys/module/nvidia/version"),
        "system": _name_system(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "torch": _find_version("torch"),
    }
    return {name: value for name, value in found.items() if value}


def _list_extensions() -> list[str]:
    """Those of `_KERNEL_FLAGS` that the processor has."""
    flags = (read_field("/proc/cpuinfo", "flags") or "").split()
    return [flag for flag in _KERNEL_FLAGS if flag in flags]


def _name_system() -> str:
    """`Debian GNU/Linux 12 (bookworm)`, or what the kernel calls itself."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _find_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def list_gpu_names(folder: Path | str = _GPUS) -> list[str]:
    """Names of NVIDIA's GPUs as their driver lists them: asking torch would take seconds."""
    names = [read_field(file, "Model") for file in sorted(Path(folder).glob("*/information"))]
    return [name for name in names if name]


def read_field(file: Path | str, key: str) -> str | None:
    """The value of the first `key: value` line of a file of the kernel's; None without one."""
    try:
        found = re.search(rf"^{key}\s*:\s*(.+)$", Path(file).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return found[1].strip() if found else None


def _read_first_line(file: str) -> str | None:
    try:
        return Path(file).read_text(encoding="utf-8").split("\n")[0].strip()
    except OSError:
        return None
