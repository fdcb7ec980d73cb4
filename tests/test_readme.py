"""What the README and the documentation show is what there is: the example runs, links lead somewhere."""

from __future__ import annotations

import copy
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import portability
from progress_lines import without_progress

from pynn_portability import backends, cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


# --- The example ---


@pytest.fixture
def example(tmp_path: Path) -> tuple[Path, str]:
    """A folder with the README's model where its study looks for it, and the text of that study."""
    (study,), (model,) = blocks(README, "toml"), blocks(README, "python")
    file, function = tomllib.loads(study)["model"]["build"].split(":")
    assert f"def {function}(" in model
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(model)
    return tmp_path, study


def skip_without_backends(study: str) -> None:
    """Skip where a simulator is not installed that the study asks for."""
    content = tomllib.loads(study)
    for name in sorted({run["backend"] for run in (content["reference"], *content["candidate"])}):
        if reason := backends.load(name).available():
            pytest.skip(reason)


def shortened(study: str, changes: dict[tuple[str, str], Any]) -> str:
    """The study's text with other values for some keys, given by section and key.

    Only the lines of these keys change, whatever else the README says; a key that is no longer there
    fails.
    """
    expected = copy.deepcopy(tomllib.loads(study))
    for (section, key), value in changes.items():
        assert key in expected[section]
        expected[section][key] = value
        study, n = re.subn(rf"^{key} = .*$", f"{key} = {value}", study, flags=re.MULTILINE)
        assert n == 1
    assert tomllib.loads(study) == expected
    return study


def test_the_example_study_is_valid_as_it_is_written(example: tuple[Path, str]) -> None:
    folder, study = example
    skip_without_backends(study)
    (folder / "study.toml").write_text(study)
    ended = portability(folder, "validate", "study.toml")
    assert (ended.returncode, without_progress(ended.stderr)) == (0, ""), ended.stdout
    assert "study.toml" in ended.stdout


def test_the_example_study_runs(example: tuple[Path, str]) -> None:
    """Every candidate runs, on a network of a tenth of the size that is simulated for 0.2 s instead of 11.

    As it is written, it simulates 30 runs, which takes some ten minutes. One seed shows that they run;
    as no verdict can be made of one, the exit code is that of an inconclusive study.
    """
    folder, study = example
    skip_without_backends(study)
    seeds = tomllib.loads(study)["simulation"]["seeds"][:1]
    quick = {
        # not less: a neuron of the model has 100 different inputs
        ("model", "size"): 100,
        ("simulation", "duration"): 150.0,
        ("simulation", "warmup"): 50.0,
        ("simulation", "seeds"): seeds,
    }
    (folder / "study.toml").write_text(shortened(study, quick))
    ended = portability(folder, "run", "study.toml")
    assert ended.returncode == 3, ended.stderr
    assert without_progress(ended.stderr) == ""
    content = tomllib.loads(study)
    formats = [c["format"] for c in content["candidate"]]
    n_runs = 1 + sum(len(f) if isinstance(f, list) else 1 for f in formats)
    assert f"{n_runs} of {n_runs} runs simulated" in ended.stdout
    out = folder / "results" / content["study"]["name"]
    for name in ("report.html", "results.json", "junit.xml"):
        assert (out / name).stat().st_size > 0


def test_the_example_of_the_study_files_page_is_valid(tmp_path: Path) -> None:
    (study,) = blocks((ROOT / "docs" / "study-file.md").read_text(), "toml")
    skip_without_backends(study)
    (tmp_path / "study.toml").write_text(study)
    ended = portability(tmp_path, "validate", "study.toml")
    assert (ended.returncode, without_progress(ended.stderr)) == (0, "")


# --- Commands ---


def commands() -> dict[str, Any]:
    """The commands of the program by their names."""
    group: Any = typer.main.get_command(cli.app)
    return dict(group.commands)


def test_the_command_list_is_that_of_the_program() -> None:
    """Every command that is listed exists with the options that are shown, and none is left out."""
    listed = re.findall(r"^    portability ([a-z]+)(.*?)(?:#.*)?$", README, re.MULTILINE)
    assert {name for name, _ in listed} == set(commands())
    for name, arguments in listed:
        options = {option for p in commands()[name].params for option in p.opts}
        assert set(re.findall(r"--[a-z-]+", arguments)) <= options, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`portability ([a-z]+)[^`\n]*`", text)
    named += re.findall(r"^    portability ([a-z]+)", text, re.MULTILINE)
    assert set(named) <= set(commands())


# --- Links ---


def links(text: str) -> list[str]:
    """Targets of the links and images of a page, those inside code left out."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"`[^`\n]*`", "`code`", prose)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """What headings are called in links, by GitHub's rule."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    found = []
    for link in links(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Here & `there`\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](https://example.org/x) ![c](picture.png) [d](other.md#here--there)\n"
        "[e](other.md#no-heading) [f](#nothing) `[g](code.md)`\n"
    )
    assert broken(page) == ["picture.png", "other.md#no-heading", "#nothing"]
