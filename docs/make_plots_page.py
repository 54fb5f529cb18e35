"""Make .dvc/plots_page.html, the page of `dvc plots show`: Vega stands in it, so that it needs no network.

    cd FOLDER && npm pack vega@5.33.0 vega-lite@5.20.1 vega-embed@6.29.0
    python -m docs.make_plots_page FOLDER

DVC's own page loads three scripts from elsewhere and is blank where they cannot be had. `html_template` in .dvc/config
names ours. Its Content-Security-Policy lets it load nothing at all.
"""

import argparse
import hashlib
import tarfile
from pathlib import Path

from tunelock.run.errors import Stop
from tunelock.run.files import write_text

PAGE = Path(".dvc/plots_page.html")
SCRIPTS = {  # in the order in which each needs the one before: package and version, sha256 of its script
    "vega-5.33.0": "a71f14828abacac82fbe8adb07ce65cbb82561d8eef188053c4a1c09e0164dcb",
    "vega-lite-5.20.1": "cfaa9b39c9dc6ba8749d81dde236cb9d89938978df400640adaf934a790cfae7",
    "vega-embed-6.29.0": "12d02acfbe3ec59ef9a37dd4822a2e04e2961b5bbb671bbe661d2221715b99da",
}
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; \
style-src 'unsafe-inline'; img-src data: blob:">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>tunelock plots</title>
<style>
body { margin: 0 auto; padding: 1.5rem; max-width: 90rem; font: 16px/1.5 system-ui, sans-serif; }
body > div { display: inline-block; margin: 0 1rem 2rem 0; max-width: 100%; overflow-x: auto; vertical-align: top; }
</style>
"""


def compose_page(folder: Path) -> str:
    """The page as DVC takes it, which puts the plots where `{plot_divs}` stands.

    Raises:
        Stop: a script is not the one that is pinned here.
    """
    parts = [HEAD]
    for name, sha256 in SCRIPTS.items():
        with tarfile.open(folder / f"{name}.tgz") as package:
            script = _read_member(package, f"package/build/{name.rpartition('-')[0]}.min.js")
            licence = _read_member(package, "package/LICENSE")
        if hashlib.sha256(script.encode()).hexdigest() != sha256:
            raise Stop(f"{name}.tgz: its script is not the one that is pinned in docs/make_plots_page.py.")
        parts.append(f"<!-- {name}\n{licence.strip()}\n-->\n<script>{script}</script>\n")
    return "".join([*parts, "</head>\n<body>\n{plot_divs}\n</body>\n</html>\n"])


def _read_member(package: tarfile.TarFile, name: str) -> str:
    """The text of a file in an archive."""
    member = package.extractfile(name)
    if member is None:
        raise Stop(f"{package.name}: {name} is no file.")
    return member.read().decode()


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m docs.make_plots_page", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where `npm pack` put the three packages")
    write_text(PAGE, compose_page(parser.parse_args().folder))
    print(f"{PAGE}: {PAGE.stat().st_size / 1e3:,.0f} kB")


if __name__ == "__main__":
    main()
