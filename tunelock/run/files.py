"""Reading and writing the files that pass between stages: the same bytes for the same content."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunelock.run.errors import Stop


def read_json(path: Path | str) -> Any:
    """Parse one JSON value; `Stop` if the file is missing or is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Stop(f"{path} is missing; run `dvc repro` to make it.") from None
    except UnicodeDecodeError:
        raise Stop(f"{path}: not UTF-8; restore it with `dvc checkout`.") from None
    except json.JSONDecodeError as error:
        raise Stop(f"{path}:{error.lineno}: not JSON ({error.msg}); restore it with `dvc checkout`.") from None


def read_text(path: Path | str) -> str:
    """The UTF-8 text of a file that a stage wrote; `Stop` if it is missing."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Stop(f"{path} is missing; run `dvc repro` to make it.") from None


def write_json(path: Path | str, value: object) -> None:
    """Write `format_json(value)`."""
    write_text(path, format_json(value))


def format_json(value: object) -> str:
    """Sorted, indented JSON. NaN and infinity raise `ValueError`: they are not JSON."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_jsonl(path: Path | str) -> Iterator[Any]:
    """Yield the objects of a JSON-lines file that a stage of ours wrote."""
    with open(path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise Stop(f"{path}:{number}: not JSON ({error.msg}); restore it with `dvc checkout`.") from None


def write_jsonl(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line, keys sorted."""
    with whole_file(path) as out:
        for row in rows:
            out.write(format_json_line(row))


def format_json_line(row: Mapping[str, Any]) -> bytes:
    """One line of a JSON-lines file, keys sorted."""
    line = json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return line.encode(errors="backslashreplace") + b"\n"


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text with the newlines as given."""
    with whole_file(path) as out:
        out.write(text.encode())


@contextmanager
def whole_file(path: Path | str) -> Iterator[IO[bytes]]:
    """Open `path` for writing bytes so that it appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside `path` that takes its name only when the block succeeds.

    Every file is then as readable as the umask says: safetensors writes weights for their owner alone.
    """
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        mode = partial.stat().st_mode & 0o666
        for file in partial.rglob("*"):
            if file.is_file():
                file.chmod(mode)
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
        if path.exists():
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
