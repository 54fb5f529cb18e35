"""What ssh says when it cannot connect, as a sentence with what to do."""

from tunelock.remote.hosts import Host


def explain_ssh(host: Host, code: int, said: str) -> str:
    """The sentence for the exit code and the standard error of ssh, or of the Python there."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or [f"exit code {code} and no word"]
    return f"{host.name}: {lines[-1]}"
