"""The workspace as it is, as a commit beside the branch: index, files, branch, stash and reflogs stay untouched."""

from collections.abc import Sequence
from typing import NamedTuple

from tunelock.remote.index_copy import IndexCopy, copy_index
from tunelock.remote.refused_files import (
    ChangedFile,
    find_refused_early,
    find_refused_files,
    show_path,
    stop_at_refused,
)
from tunelock.run.errors import Stop

_MESSAGE = "The workspace as it was sent"
_NOBODY = ("tunelock", "tunelock@localhost")  # who commits where git knows no name


class Snapshot(NamedTuple):
    """The commit of the workspace, its parent HEAD, the files that differ, and the bytes of those new to git."""

    commit: str
    head: str
    files: tuple[str, ...]
    new_bytes: int


def take_snapshot(max_file_mb: float, allowed: Sequence[str] = ()) -> Snapshot:
    """Commit the workspace as `git add -A` sees it, with HEAD as parent; no ref names the commit.

    The same workspace gives the same commit, and a clean one gives HEAD itself. Files that git ignores are not taken.
    `max_file_mb` (megabytes of 1,000,000 bytes) is the most that a changed or untracked file may have. Files that
    match a glob of `allowed` are not looked at for secrets, size and links to other repositories.

    Raises:
        Stop: a file must not or cannot travel (each by name), a merge has conflicts, or there is no commit yet.
    """
    with copy_index() as git:
        head = _find_head(git)
        _refuse_conflicts(git)
        stop_at_refused(find_refused_early(git, max_file_mb, allowed), max_file_mb)
        git.run("add", "--all")
        git.run("rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", ":/.ckpt")  # also where git ignores it not
        tree = git.run("write-tree").decode().strip()
        changes = _list_changed_files(git, head, tree)
        stop_at_refused(find_refused_files(git, changes, max_file_mb, allowed), max_file_mb)
        commit = _commit_tree(git, tree, head) if changes else head
        return Snapshot(commit, head, tuple(change.path for change in changes), _measure_new(git, head, changes))


def _list_changed_files(git: IndexCopy, head: str, tree: str) -> list[ChangedFile]:
    """The files in which a tree differs from HEAD, deleted ones with mode 000000."""
    fields = git.list_paths("diff-tree", "-r", "-z", "--raw", "--no-renames", "--full-index", head, tree)
    changes = []
    for facts, path in zip(fields[::2], fields[1::2], strict=True):
        _, mode, old, new, _ = facts.split()
        changes.append(ChangedFile(path, mode, new, old))
    return changes


def _find_head(git: IndexCopy) -> str:
    try:
        return git.run("rev-parse", "--verify", "HEAD^{commit}").decode().strip()
    except Stop:
        raise Stop(
            "the repository has no commit yet, and an experiment needs one to start from; "
            "run `git add -A` and `git commit`."
        ) from None


def _refuse_conflicts(git: IndexCopy) -> None:
    paths = sorted({entry.partition("\t")[2] for entry in git.list_paths("ls-files", "-z", "--unmerged")})
    if paths:
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        raise Stop(
            f"a merge left conflicts in {', '.join(map(show_path, paths[:3]))}{more}; settle them, tell git with "
            "`git add`, then submit again."
        )


def _commit_tree(git: IndexCopy, tree: str, head: str) -> str:
    """A commit of the tree that depends on nothing but the tree, HEAD and the name of who commits."""
    date = git.run("show", "--no-patch", "--format=%ct +0000", head).decode().strip()
    name, email = (_read_setting(git, key) or nobody for key, nobody in zip(("user.name", "user.email"), _NOBODY))
    variables = {}
    for role in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{role}_NAME": name, f"GIT_{role}_EMAIL": email, f"GIT_{role}_DATE": date}
    return git.run("commit-tree", "-p", head, "-m", _MESSAGE, tree, variables=variables).decode().strip()


def _read_setting(git: IndexCopy, key: str) -> str:
    return git.run("config", "--default", "", "--get", key).decode().strip()


def _measure_new(git: IndexCopy, head: str, changes: list[ChangedFile]) -> int:
    """The bytes of the blobs that HEAD does not have under any name."""
    if not changes:
        return 0
    there = {line.split()[2] for line in git.list_paths("ls-tree", "-r", "-z", head)}
    new = {change.blob for change in changes if change.is_file} - there
    return sum(git.measure_blobs(new).values())
