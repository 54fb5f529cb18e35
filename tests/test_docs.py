"""What the pages, the data card and the pins say is true of the repository."""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import typer
from ruamel.yaml import YAML

from docs import make_errors
from tests.command_line import run_tunelock
from tunelock.commands.application import application
from tunelock.records.about_data import read_about_data
from tunelock.report.readme_results import format_readme_results, replace_results
from tunelock.run.files import read_json
from tunelock.run.params import load_yaml
from tunelock.schema.params_problems import find_problems

ROOT = Path(__file__).parent.parent
STAGES = load_yaml(ROOT / "dvc.yaml")["stages"]
SUFFIXES = (".py", ".yaml", ".md", ".json", ".toml")


PAGES = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")) if path.name != "errors.md")
WORDS_OF_README = 1300
PLACEHOLDERS = ("faq.csv", "alpaca.json", "sharegpt.jsonl", "manual", "x.jsonl")  # a reader's own files in data/raw


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=PAGES, ids=[page.name for page in PAGES])
def page(request) -> Path:
    """Each page that people read."""
    return request.param


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def code(markdown: str) -> str:
    """The fenced blocks and the spans in backticks, a span on a line of its own."""
    blocks = re.findall(r"^ *```.*?\n(.*?)^ *```", markdown, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *spans(markdown)])


def spans(markdown: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", markdown, flags=re.MULTILINE | re.DOTALL))


def outs() -> set[str]:
    """What the stages write: not there in a fresh clone."""
    listed = [item for entry in STAGES.values() for key in ("outs", "metrics", "plots") for item in entry.get(key, [])]
    return {item if isinstance(item, str) else next(iter(item)) for item in listed}


def repository_files() -> list[Path]:
    """What git holds or would take in."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def is_path(span: str) -> bool:
    """Does a span name a file of this repository, rather than a command, placeholder, hub id or output?"""
    if re.search(r"[\s*?<>{}\[\]:=…~$|&(,]", span) or span.startswith(("/", "-", "..", ".venv", ".ckpt")):
        return False
    if not ("/" in span or span.endswith(SUFFIXES)):
        return False
    parts = span.rstrip("/").split("/")
    if any(part.split(".")[0].isupper() and part != "README.md" for part in parts):  # FOLDER/NAME.json
        return False
    if len(parts) == 2 and not span.endswith(("/", *SUFFIXES)) and not (ROOT / parts[0]).exists():  # org/name
        return False
    return not any(span.rstrip("/") == out or span.startswith(f"{out}/") for out in outs() | {"comment"})


def exists(path: str) -> bool:
    """A path is there; a bare name may also be that of a file in a folder or of one that the code writes."""
    if (ROOT / path).exists():
        return True
    written = "".join(file.read_text() for wing in ("stages", "tunelock") for file in (ROOT / wing).rglob("*.py"))
    return "/" not in path and (path in {file.name for file in repository_files()} or f'"{path}"' in written)


def links_in(markdown: str) -> list[str]:
    """What is linked or shown as a picture, other sites apart."""
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", markdown) if "://" not in link]


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_path_in_a_page_exists(page):
    named = {span for span in spans(text_of(page)) if is_path(span)}
    assert sorted(path for path in named if not exists(path) and Path(path).name not in PLACEHOLDERS) == []


def test_every_link_of_a_page_leads_somewhere(page):
    for link in links_in(text_of(page)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links {link}"
        assert not anchor or anchor in anchors_of(target), f"{page.name} links {link}"


def test_every_page_is_linked_from_the_readme(readme):
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links_in(readme)}
    assert set(ROOT.glob("docs/*.md")) <= linked


def test_the_readme_is_short(readme):
    assert len(readme.split()) <= WORDS_OF_README


def commands_in(markdown: str) -> list[list[str]]:
    """Each call of `tunelock` in the code of a page, as words; comments apart."""
    found = []
    for line in code(markdown).splitlines():
        for part in re.split(r"&&|\||;", line.split("  #")[0]):
            if re.match(r"\s*tunelock [a-z]", part) and "…" not in part:
                found.append(shlex.split(part, comments=True))
    return found


def find_command(words: list[str]) -> click.Command:
    """The command that the words after `tunelock` name; fails where there is none."""
    command = typer.main.get_command(application)
    for word in words:
        if not hasattr(command, "commands") or word not in command.commands:
            break
        command = command.commands[word]
    assert not hasattr(command, "commands") or command.invoke_without_command, f"no command: {' '.join(words)}"
    return command


def test_every_command_of_a_page_exists_with_its_options(page):
    for _, *words in commands_in(text_of(page)):
        known = {"--help"}.union(*(option.opts + option.secondary_opts for option in find_command(words).params))
        given = {word.partition("=")[0] for word in words if re.match(r"--?[A-Za-z]", word)}
        assert given <= known, f"{page.name}: tunelock {' '.join(words)}"


def test_pages_name_commands(readme):
    assert {words[1] for words in commands_in(readme)} >= {"chat", "preview", "report", "pr"}


def test_the_preview_on_the_page_is_what_the_command_prints(tmp_path, monkeypatch, tiny_model):
    (rows,) = re.findall(r"^```csv\n(.*?)^```", text_of(ROOT / "docs/first-model.md"), re.MULTILINE | re.DOTALL)
    command, printed = re.findall(r"^```(?:sh)?\n(.*?)^```", text_of(ROOT / "docs/data.md"), re.M | re.DOTALL)[:2]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/faq.csv").write_text(rows)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    found = run_tunelock(*shlex.split(command)[1:], "--model", str(tiny_model)).stdout
    assert found.startswith(printed)


def test_the_page_of_errors_is_made_from_this_code():
    assert make_errors.PAGE.read_text(encoding="utf-8") == make_errors.make_page(), "run `make docs`"


@pytest.mark.parametrize("span", ["stages/train.py", "tests/", "tunelock/run", ".ci/run", "dvc.yaml", "rendering.py"])
def test_a_path_is_recognised(span):
    assert is_path(span) and exists(span)


@pytest.mark.parametrize("span", ["stages/gone.py", "stages/gone", "gone.yaml", "gone/", "tests/test_gone.py"])
def test_a_path_that_is_not_there_is_noticed(span):
    assert is_path(span) and not exists(span)


@pytest.mark.parametrize(
    "span",
    ["Qwen/Qwen3-0.6B", "dvc repro", "data/clean/records.jsonl", "metrics/*.json", "FOLDER/OF", "https://a.org/b", "x"],
)
def test_what_is_no_path_is_passed_over(span):
    assert not is_path(span)


def test_every_param_that_a_page_sets_is_one(page):
    keys = set(re.findall(r"(?:-S|--set-param)[ =]['\"]?\+*([\w.]+)=", text_of(page)))
    assert sorted(keys - set(load_yaml(ROOT / "params.yaml"))) == []


def yaml_blocks(markdown: str) -> list[dict]:
    """The params that a page shows, block by block."""
    return [YAML(typ="safe").load(block) for block in re.findall(r"^```yaml\n(.*?)^```", markdown, re.M | re.DOTALL)]


def test_the_params_that_a_page_shows_pass_the_schema(page):
    for changes in yaml_blocks(text_of(page)):
        if "hosts" in changes:  # remote.yaml, which tests/remote/test_remote_page.py reads
            continue
        assert find_problems(load_yaml(ROOT / "params.yaml") | changes) == []


def test_two_pages_show_params_for_own_data():
    shown = [block for name in ("data.md", "first-model.md") for block in yaml_blocks(text_of(ROOT / "docs" / name))]
    assert len(shown) == 2 and all({"sources", "golden_ratio"} <= block.keys() for block in shown)


def test_every_module_that_a_page_runs_exists(page):
    modules = set(re.findall(r"python3? -m ((?:stages|tunelock|benchmarks|tests)(?:\.\w+)*)", text_of(page)))
    assert [name for name in sorted(modules) if not Path(ROOT, *name.split(".")).with_suffix(".py").exists()] == []


def test_every_make_target_that_a_page_names_exists(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = set(re.findall(r"(?:^ *|&& |; |\$ )make ([a-z-]+)", code(text_of(page)), re.MULTILINE))
    assert sorted(named - set(targets)) == []


def test_every_stage_is_named_in_the_readme(readme):
    text = code(readme) + "\n".join(line for line in readme.splitlines() if line.startswith("|"))
    assert [name for name in STAGES if not re.search(rf"(?<![\w./]){name}(?![\w/]|\.\w)", text)] == []


def test_the_line_that_commits_a_result_names_every_out_that_git_holds():
    (line,) = re.findall(r"git add (.*)\"", (ROOT / "Makefile").read_text(encoding="utf-8"))
    named = line.split()
    assert {"params.yaml", "dvc.lock"} <= set(named)
    held = []
    for entry in STAGES.values():
        outs = [out for key in ("outs", "metrics") for out in entry.get(key, []) if isinstance(out, dict)]
        held += [path for out in outs for path, options in out.items() if options.get("cache") is False]
    assert len(held) > 10
    assert [path for path in held if not any(Path(path).is_relative_to(name) for name in named)] == []


def test_the_result_table_of_the_readme_is_that_of_the_metrics(readme):
    metrics, claims = (read_json(ROOT / f"metrics/{name}.json") for name in ("evaluate", "claims"))
    samples = (ROOT / "metrics/samples.md").read_text(encoding="utf-8")
    assert replace_results(readme, format_readme_results(metrics, claims, samples)) == readme


def test_the_data_card_gives_the_counts_of_the_metrics():
    data, split = read_json(ROOT / "metrics/data.json"), read_json(ROOT / "metrics/split.json")
    card = (ROOT / "data/README.md").read_text(encoding="utf-8")
    about = read_about_data(load_yaml(ROOT / "params.yaml")["sources"], ROOT / "data/raw/README.md")
    assert f"# Data card: {about.title}\n\n{about.prose}\n" in card
    assert about.personal_data in card
    for name, number in [("rows", data["total"]["rows"]), ("kept", data["total"]["kept"])]:
        assert f"| {name} | {number:,} |" in card
    for name in ("train", "val", "test", "golden"):
        assert f"| {name} | {split[name]['rows']:,} | {split[name]['groups']:,} |" in card


def test_no_path_of_a_machine_is_in_the_repository():
    machine = [f"/{folder}/".encode() for folder in ("work", "root")]
    made = [ROOT / path for path in outs()]  # holds data and answers about file systems
    files = [file for file in repository_files() if not any(file.is_relative_to(path) for path in made)]
    assert [str(file) for file in files if any(path in file.read_bytes() for path in machine)] == []
