"""The host's side as a zip, and the few lines that take it in there, which any Python from 2.7 on understands."""

import functools
import hashlib
import io
import zipfile
from pathlib import Path

from tunelock.remote.there.streams import MARK

READ_START = "import sys; exec(eval(getattr(sys.stdin, 'buffer', sys.stdin).readline()))"  # for `python -c`
_START = """
import json, os, sys
folder, name, size = {folder!r}, {name!r}, {size}
def refuse(**why):
    sys.stdout.write({mark!r} + json.dumps(why) + chr(10))
    sys.stdout.flush()
    sys.exit(1)
if sys.version_info < (3, 11):
    refuse(python='%d.%d.%d' % sys.version_info[:3])
path = os.path.join(os.path.expanduser(folder), 'code', name)
data, partial = sys.stdin.buffer.read(size), path + '.%d.partial' % os.getpid()
try:
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(partial, 'wb') as file:
            file.write(data)
        os.replace(partial, path)
except OSError as error:
    if os.path.exists(partial):
        os.remove(partial)
    refuse(errno=error.errno, error=error.strerror, file=error.filename or path)
sys.path.insert(0, path)
sys.argv[1:] = ['serve', folder]
from tunelock.remote.there.entry import main
main()
"""


def make_start(folder: str) -> bytes:
    """What stdin of `python -c READ_START` gets before the request: a line that says what to do, then the zip."""
    code = pack_code()
    name = f"{hashlib.sha256(code).hexdigest()[:16]}.zip"
    start = _START.format(folder=folder, name=name, size=len(code), mark=MARK.decode())
    return repr(start).encode() + b"\n" + code


@functools.cache
def pack_code() -> bytes:
    """The host's side as a zip, the same bytes for the same code."""
    packed, root = io.BytesIO(), Path(__file__).parents[2]
    files = sorted((root / "tunelock" / "remote" / "there").glob("*.py"))
    texts = {file.relative_to(root).as_posix(): file.read_bytes() for file in files}
    texts |= {"tunelock/__init__.py": b"", "tunelock/remote/__init__.py": b""}
    texts["__main__.py"] = b"from tunelock.remote.there.entry import main\n\nmain()\n"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
