"""What `ftlit` itself offers: every public class and function, imported when it is first used."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import ftlit
from ftlit.data.batches.batching import Batching
from ftlit.data.replay.mixture import Replay
from ftlit.data.rows.augment import Augmentation
from ftlit.data.shared.base import TaskData
from ftlit.heads import Head
from ftlit.losses import Loss
from ftlit.optimization.auxiliary import Auxiliary
from ftlit.optimization.keep import Keep
from ftlit.tasks import TaskModule
from ftlit.tuning import Tuning
from ftlit.util.lazy import lazy_attributes
from tests.support.command_line import ROOT

BASES = (TaskModule, TaskData, Tuning, Head, Loss, Auxiliary, Augmentation, Batching, Keep, Replay)


def concrete(base: type) -> set[type]:
    """The classes of the package that can be named in a config in the place of a base."""
    found, todo = set[type](), [base]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.__module__.startswith("ftlit.") and not inspect.isabstract(kind):
            found.add(kind)
    return found


def import_everything() -> None:
    for module in pkgutil.walk_packages(ftlit.__path__, "ftlit."):
        if module.name not in ("ftlit.__main__", "ftlit.exports.verify_script"):
            importlib.import_module(module.name)


def test_every_name_can_be_imported() -> None:
    for name in ftlit.__all__:
        assert not isinstance(getattr(ftlit, name), ModuleType), name
    assert set(ftlit.__all__) <= set(dir(ftlit))
    with pytest.raises(AttributeError, match="module 'ftlit' has no attribute 'Lora'"):
        _ = ftlit.Lora  # type: ignore[attr-defined]


def test_every_class_of_a_config_is_offered() -> None:
    import_everything()
    for base in BASES:
        assert getattr(ftlit, base.__name__) is base
        lacking = [kind.__name__ for kind in concrete(base) if kind.__name__ not in ftlit.__all__ and not is_internal(kind)]
        assert not lacking, base


def is_internal(kind: type) -> bool:
    """Whether a class only serves others: what tasks share, and the data that `--plan` wraps."""
    return kind.__module__.startswith("ftlit.commands.planning") or ".shared." in kind.__module__


def test_no_submodule_hides_a_name() -> None:
    assert not {module.name for module in pkgutil.iter_modules(ftlit.__path__)} & set(ftlit.__all__)


def test_type_checkers_see_the_same_names() -> None:
    package = ast.parse((ROOT / "ftlit/__init__.py").read_text())
    (checked,) = (node for node in package.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == ftlit._MODULES


@pytest.mark.parametrize("statement", ["import ftlit", "from ftlit import open_run", "import ftlit; dir(ftlit)"])
def test_importing_the_package_does_not_import_torch(statement: str) -> None:
    code = f"import sys; {statement}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_an_attribute_is_imported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("some_package")
    monkeypatch.setitem(sys.modules, "some_package", package)
    find, names = lazy_attributes("some_package", {"sqrt": "math"})
    assert "sqrt" in names()
    assert "sqrt" not in vars(package)
    assert find("sqrt")(4) == 2
    assert vars(package)["sqrt"](9) == 3
