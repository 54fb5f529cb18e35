"""Files of the workspace that must not leave it, or would not arrive as they are; all are named in one sentence."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tunelock.privacy.credentials import find_secrets
from tunelock.remote.index_copy import IndexCopy
from tunelock.remote.secret_names import is_named_by, is_secret_file_name
from tunelock.run.errors import Stop

_MB = 1_000_000  # bytes
_SHOWN = 3  # refused files that are named; the rest is counted
_REPOSITORY = "160000"  # the mode of an entry that is another repository's commit
_DVC_TMP = re.compile(r"(?:^|/)\.dvc/tmp(?:/|$)")
_FILTER = re.compile(r"filter\.(.+)\.(?:clean|process)")
_ALLOW = "below `allow` in remote.yaml"
_CURES = {
    "secret": f"put a secret into .gitignore, or the name of a file that has none {_ALLOW}",
    "large": "put a large file under DVC (`dvc add FILE`) or into .gitignore, or raise `max_file_mb` in remote.yaml "
    "(it is {max_file_mb:g})",
    "repository": f"the files of another repository do not travel: put it into .gitignore, or its name {_ALLOW}",
    "filter": f"the host has no such filter: put the file under DVC, or its name {_ALLOW}",
    "marked": "let git see the change (`git update-index --no-assume-unchanged --no-skip-worktree FILE`), or run on "
    f"what git has by its name {_ALLOW}",
    "pickle": "DVC runs what it finds there: take it out of git (`git rm -r --cached .dvc/tmp`)",
}


class ChangedFile(NamedTuple):
    """A file in which the snapshot differs from HEAD: its mode and blob, and the blob that HEAD has."""

    path: str
    mode: str
    blob: str
    old_blob: str

    @property
    def is_file(self) -> bool:
        """Whether it has a blob: it is neither deleted nor another repository."""
        return self.mode not in ("000000", _REPOSITORY)

    @property
    def is_new(self) -> bool:
        """Whether HEAD has no file of that name."""
        return not self.old_blob.strip("0")


class _RefusedFile(NamedTuple):
    """A file that is not sent: what is wrong with it, and the kind of cure."""

    path: str
    what: str
    cure: str


def find_refused_early(git: IndexCopy, max_file_mb: float, allowed: Sequence[str]) -> list[_RefusedFile]:
    """What git must not even copy into its store, large files, and files whose change it would not see."""
    found = []
    for path in git.list_paths("ls-files", "-z", "--others", "--modified", "--exclude-standard"):
        file = git.root / path
        if file.is_file() and not file.is_symlink() and file.stat().st_size > max_file_mb * _MB:
            found.append(_refuse_size(path, file.stat().st_size))
    return sorted(refused for refused in [*found, *_find_marked(git)] if not is_named_by(refused.path, allowed))


def find_refused_files(
    git: IndexCopy, changes: list[ChangedFile], max_file_mb: float, allowed: Sequence[str]
) -> list[_RefusedFile]:
    """What is refused of the tree that stands in the copy of the index; `changes` are its differences from HEAD."""
    files = [change for change in changes if change.is_file and not is_named_by(change.path, allowed)]
    sizes = git.measure_blobs(change.blob for change in files)
    found, readable = [], []
    for file in files:
        if is_secret_file_name(file.path):
            found.append(_RefusedFile(file.path, "is named like a file of secrets", "secret"))
        elif sizes[file.blob] > max_file_mb * _MB:
            found.append(_refuse_size(file.path, sizes[file.blob]))
        else:
            readable.append(file)
    found += _find_written_secrets(git, readable)
    found += [refused for refused in _find_foreign(git) if not is_named_by(refused.path, allowed)]
    return sorted([*found, *_find_pickles(git)])


def stop_at_refused(refused: list[_RefusedFile], max_file_mb: float) -> None:
    """Stop with one sentence about all of the files, and what to do about each kind."""
    if refused:
        named = [f"{show_path(file.path)} {file.what}" for file in refused[:_SHOWN]]
        more = f", and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        kinds = sorted({file.cure for file in refused})
        cures = [_CURES[kind].format(max_file_mb=max_file_mb) for kind in kinds]
        raise Stop(f"nothing was sent, for {', '.join(named)}{more}. To mend it, {'; '.join(cures)}.")


def show_path(path: str) -> str:
    """A path in a sentence: in quotes, with escapes for what a terminal would act on."""
    return f"'{path}'" if path.isprintable() else ascii(path)


def _refuse_size(path: str, size: int) -> _RefusedFile:
    return _RefusedFile(path, f"has {size / _MB:.1f} MB", "large")


def _find_written_secrets(git: IndexCopy, files: list[ChangedFile]) -> Iterator[_RefusedFile]:
    """Text files with a secret that HEAD's version does not have: what that one has is in git's history already."""
    for file, content in zip(files, git.read_blobs(file.blob for file in files), strict=True):
        text = "" if b"\0" in content else content.decode(errors="replace")
        spans = list(find_secrets(text))
        if not spans:
            continue
        old = "" if file.is_new else next(git.read_blobs([file.old_blob])).decode(errors="replace")
        lines = sorted({text.count("\n", 0, start) + 1 for start, end in spans if text[start:end] not in old})
        if lines:
            more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
            yield _RefusedFile(file.path, f"has what looks like a secret in line {lines[0]}{more}", "secret")


def _find_pickles(git: IndexCopy) -> Iterator[_RefusedFile]:
    for path in git.list_paths("ls-files", "-z", "--cached"):
        if _DVC_TMP.search(path):
            yield _RefusedFile(path, "belongs to DVC's own scratch folder", "pickle")


def _find_foreign(git: IndexCopy) -> Iterator[_RefusedFile]:
    """Entries whose content is not in this repository: other repositories, and files that a filter replaces."""
    paths = []
    for entry in git.list_paths("ls-files", "-z", "--cached", "--stage"):
        facts, _, path = entry.partition("\t")
        paths.append(path)
        if facts.startswith(_REPOSITORY):
            yield _RefusedFile(path, "is a git repository of its own", "repository")
    settings = git.list_paths("config", "--list", "--name-only", "-z")
    filters = {found[1] for found in map(_FILTER.fullmatch, settings) if found}
    fields = git.list_paths("check-attr", "-z", "--stdin", "filter", stdin=paths) if filters else []
    for path, name in zip(fields[::3], fields[2::3], strict=True):
        if name in filters:
            yield _RefusedFile(path, f"is kept by git's filter '{name}'", "filter")


def _find_marked(git: IndexCopy) -> Iterator[_RefusedFile]:
    """Files that git was told to take for unchanged, and that differ: the host would run on the old ones."""
    letters = {entry[2:]: entry[0] for entry in git.list_paths("ls-files", "-z", "--cached", "-v")}
    for entry in git.list_paths("ls-files", "-z", "--cached", "--stage"):
        facts, _, path = entry.partition("\t")
        mark, file = letters.get(path, "H"), git.root / path
        if (mark == "S" or mark.islower()) and file.is_file() and not file.is_symlink():
            here = git.run("hash-object", "--", path).decode().strip()
            if here != facts.split()[1]:
                yield _RefusedFile(path, "has changes that git was told not to see", "marked")
