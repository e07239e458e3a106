"""The structure of the package: its rooms, the arrows between them, sizes, depths, and one declaration for every option."""

import ast
import inspect
import pkgutil
import statistics
from importlib import import_module
from pathlib import Path

import pytest
from lightning import LightningDataModule, LightningModule

import ftlit
from ftlit.util.options import OPTIONS, declared, option

PACKAGE = Path(ftlit.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [name for _, name, _ in pkgutil.walk_packages([str(PACKAGE)], "ftlit.") if not name.endswith("__main__")]


def package_folders() -> list[Path]:
    return [folder for folder in [PACKAGE, *PACKAGE.rglob("*")] if (folder / "__init__.py").is_file()]


def subclasses(base: type) -> list[type]:
    for name in MODULES:
        if name.startswith(("ftlit.tasks", "ftlit.data")):
            import_module(name)
    found = [base]
    for kind in found:
        found += [sub for sub in kind.__subclasses__() if sub.__module__.startswith("ftlit.")]
    return found


def depth(kind: type, base: type) -> int:
    return 0 if kind is base else 1 + max(depth(parent, base) for parent in kind.__bases__ if issubclass(parent, base))


def test_the_top_has_at_most_twenty_entries() -> None:
    assert len([path for path in PACKAGE.iterdir() if path.name != "__pycache__"]) <= 20


@pytest.mark.parametrize("folder", package_folders()[1:], ids=lambda folder: str(folder.relative_to(PACKAGE)))
def test_a_package_has_3_to_13_files(folder: Path) -> None:
    files, packages = list(folder.glob("*.py")), list(folder.glob("*/__init__.py"))
    assert len([*files, *packages]) >= 3, sorted(path.name for path in files)
    assert len(files) <= 13, sorted(path.name for path in files)


def test_files_are_short() -> None:
    lines = {path: len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert statistics.median(lines.values()) <= 110
    assert {str(path): count for path, count in lines.items() if count > 300} == {}


def test_functions_are_short() -> None:
    functions = {
        f"{path}:{node.name}": (node.end_lineno - node.lineno + 1, node.end_lineno - _first_statement(node) + 1)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert statistics.median(whole for whole, _ in functions.values()) <= 6
    assert {name: code for name, (_, code) in functions.items() if code > 40} == {}


def _first_statement(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The line on which the code of a function begins, after its docstring."""
    documented = ast.get_docstring(function) is not None and len(function.body) > 1
    return function.body[1 if documented else 0].lineno


@pytest.mark.parametrize("base", [LightningModule, LightningDataModule])
def test_tasks_and_data_stand_at_most_three_classes_below_lightning(base: type) -> None:
    depths = {kind.__name__: depth(kind, base) for kind in subclasses(base) if kind is not base}
    assert depths
    assert {name: deep for name, deep in depths.items() if deep > 3} == {}


def test_imports_point_downwards() -> None:
    pytest.importorskip("importlinter")
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    assert lint_imports(config_filename=str(PACKAGE.parent / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


# Options


def parameters(base: type) -> dict[str, type]:
    """Every parameter of every subclass, with a class that has it."""
    found: dict[str, type] = {}
    for kind in subclasses(base):
        if kind is not base and not kind.__module__.startswith("ftlit.commands.planning"):
            names = inspect.signature(kind.__init__).parameters
            found |= {name: kind for name in names if name not in ("self", "kwargs")}
    return found


@pytest.mark.parametrize(("section", "base"), [("model", LightningModule), ("data", LightningDataModule)])
def test_every_option_is_declared(section: str, base: type) -> None:
    undeclared = {name: kind.__name__ for name, kind in parameters(base).items() if f"{section}.{name}" not in OPTIONS}
    assert undeclared == {}, "say in ftlit/util/options.py what they affect"


@pytest.mark.parametrize(("section", "base"), [("model", LightningModule), ("data", LightningDataModule)])
def test_every_declared_option_exists(section: str, base: type) -> None:
    known = {*parameters(base), "class_path"}
    names = {key.split(".")[1] for key in OPTIONS if key.startswith(f"{section}.")}
    assert names - known == set()


def test_a_key_has_the_declaration_of_its_innermost_declared_part() -> None:
    assert declared("model.tuning.init_args.r") == "model.tuning"
    assert declared("model.optimizer.lr") == "model.optimizer.init_args.lr"
    assert declared("data.of_a_user") == "data"
    assert option("trainer.logger.init_args.project") is OPTIONS["trainer.logger"]
    with pytest.raises(KeyError, match="no option of the config is called 'unknown'"):
        declared("unknown")
