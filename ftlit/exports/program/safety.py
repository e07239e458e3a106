"""Check that a program of torch.export is data, before PyTorch opens it.

`torch.export.load` would unpickle parts of a file, evaluate texts in it as Python, and call whatever function of PyTorch a step
of the program names. A file passes here only if it has nothing to unpickle, and every text in it is a plain name, a size, or
an operator on tensors. So it can compute something else than it should, but do nothing beside.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftlit.errors import UserError
from ftlit.util.files import damaged

NAMES = "names.json"  # the names of inputs and outputs, in the file
GRAPH, EXAMPLE = "models/model.json", "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
PARTS = re.compile(
    r"data/weights/weight_\d+|data/constants/tensor_\d+|archive_format|archive_version|byteorder|\.data/\w+|\.format_version|"
    + "|".join(re.escape(name) for name in (GRAPH, EXAMPLE, f"extra/{NAMES}", *CONFIGS))
)
STORED = re.compile(r"(weight|tensor)_\d+")
# Operators on tensors, without those that begin with an underscore, but for three; and sums of sizes.
STEP = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b)(?:[a-zA-Z]\w*|__and__|__or__|_assert_tensor_metadata)\.\w+|"
    r"_operator\.(?:add|sub|mul|floordiv|mod|neg|eq|ne|lt|le|gt|ge|getitem)|torch\.sym_(?:max|min|not|int|ite)"
)
SIZE = re.compile(
    r"(?:(?:Mul|Add|Pow|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|Eq|Ne|Lt|Le|Gt|Ge|StrictLessThan|StrictGreaterThan|"
    r"LessThan|GreaterThan|Equality|Unequality|And|Or|Not)\(|"
    r"Symbol\('[su]\d+'(?:, (?:positive|nonnegative|integer)=True)*\)|Integer\(-?\d+\)|\)|, |true|false)+"
)
PLAIN, EQUATION = re.compile(r"[\w.+:-]*"), re.compile(r"[\w, .>-]*")
# The kinds of arguments that a step may have: no objects of other classes, no graphs, and no functions.
ARGUMENTS = {
    f"as_{kind}"
    for kind in (
        *("none", "tensor", "tensors", "optional_tensor", "optional_tensors", "int", "ints", "float", "floats", "bool"),
        *("bools", "string", "strings", "sym_int", "sym_ints", "sym_bool", "sym_bools", "name", "expr", "scalar_type"),
        *("memory_format", "layout", "device"),
    )
}
TREES = ("builtins.tuple", "builtins.list", "builtins.dict", None)


def check_program(file: Path) -> None:
    """Check that a program is data.

    Raises:
        UserError: It has more, or it cannot be read.
    """
    from torch.export.pt2_archive import PT2ArchiveReader

    try:
        reader = PT2ArchiveReader(str(file))
        names = reader.get_file_names()
        graph, example = json.loads(reader.read_string(GRAPH)), reader.read_bytes(EXAMPLE)
        stored = [json.loads(reader.read_string(name)) for name in CONFIGS]
    except (RuntimeError, AssertionError, ValueError) as error:
        raise damaged(file, str(error).splitlines()[0]) from error
    for fact in (*_parts(names), *(["an example"] if example else []), *_stored(stored), *_texts(graph)):
        raise UserError(
            f"{file} holds {fact[:80]}, which is more than tensors and operators on them, and could run code; if you trust it, "
            "add --trust_remote_code"
        )


def _parts(names: list[str]) -> Iterator[str]:
    yield from (f"the part {name}" for name in names if not PARTS.fullmatch(name))


def _stored(configs: list[dict[str, Any]]) -> Iterator[str]:
    """What of the weights is not a plain tensor."""
    for name, about in ((name, about) for config in configs for name, about in config["config"].items()):
        if about["use_pickle"] or not STORED.fullmatch(about["path_name"]):
            yield f"a pickle for {name}"


def _texts(found: Any, key: str = "") -> Iterator[str]:
    """Texts of a graph that are not what their place allows."""
    if isinstance(found, dict):
        yield from (f"the argument {name}" for name in found if name.startswith("as_") and name not in ARGUMENTS)
        yield from (f"the name {name!r}" for name in found if not PLAIN.fullmatch(name))
        for name, value in found.items():
            yield from _texts(value, name)
    elif isinstance(found, list):
        for value in found:
            yield from _texts(value, key)
    elif isinstance(found, str) and not _may_be(found, key):
        yield f"{key} {found!r}"


def _may_be(text: str, key: str) -> bool:
    """Whether a text is allowed at a place."""
    if key in ("in_spec", "out_spec"):
        return _is_tree(text)
    pattern = {"target": STEP, "expr_str": SIZE, "as_string": EQUATION}.get(key, PLAIN)
    return key != "guards_code" and pattern.fullmatch(text) is not None


def _is_tree(text: str) -> bool:
    """Whether a text is the form of nested tuples, lists and dicts, with names as keys."""
    version, tree = json.loads(text)
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        names = json.loads(part["context"] or "null")
        if part["type"] not in TREES or not (names is None or all(isinstance(name, str) for name in names)):
            return False
        waiting += part["children_spec"]
    return version == 1
