"""Models and data sets by their names on the hub, from a hub on loopback: the same results as from folders, or one sentence."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import transformers
import yaml

from ftlit.errors import UserError
from ftlit.util.hub import pinned, unpinned
from tests.support.command_line import arguments, ftlit
from tests.support.data import sentiment_splits, write_splits
from tests.support.hub import Hub, files_of
from tests.support.models import tiny_model
from tests.support.runs import fitted

Outcomes = list[tuple[Any, str]]
RATE = {"model__optimizer": "torch.optim.AdamW", "model__optimizer__init_args__lr": 0.02}


@pytest.fixture(scope="module")
def hub() -> Hub:
    return Hub()


@pytest.fixture(scope="module")
def commits(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two commits of a sharded model, of which `v1` names the first, and a data set in several formats and configurations."""
    root = tmp_path_factory.mktemp("repositories")
    tiny_model(root / "model")
    transformers.AutoModel.from_pretrained(root / "model").save_pretrained(root / "sharded", max_shard_size="20KB")
    files = {k: v for k, v in files_of(root / "model").items() if "safetensors" not in k} | files_of(root / "sharded")
    assert len([name for name in files if name.endswith(".safetensors")]) > 2
    model = hub.add("models", "tiny/bert")
    first = model.commit(files, "v1")
    other = json.loads(files["config.json"]) | {"hidden_dropout_prob": 0.3}
    second = model.commit(files | {"config.json": json.dumps(other).encode()})
    hub.add("models", "tiny/gated", gated=True).commit(files)
    hub.add("models", "tiny/broken").commit(files | {"model.safetensors": b"0" * 4000})
    hub.broken.add("model.safetensors")
    rows = sentiment_splits()
    write_splits(root / "data", rows)
    data = hub.add("datasets", "tiny/sentiment").commit(files_of(root / "data"), "v1")
    for split, some in rows.items():
        for folder in ("table/all", "table/half", "plain"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        pandas.DataFrame(some).to_parquet(root / f"table/all/{split}.parquet")
        pandas.DataFrame(some[::2]).to_parquet(root / f"table/half/{split}.parquet")
        pandas.DataFrame(some).to_csv(root / f"plain/{split}.csv", index=False)
    configs = [
        {"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}.parquet"} for split in rows]}
        for name in ("all", "half")
    ]
    (root / "table/README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")
    for name in ("table", "plain"):
        hub.add("datasets", f"tiny/{name}").commit(files_of(root / name))
    return {"first": first, "second": second, "data": data, "model": str(root / "model"), "rows": str(root / "data")}


@pytest.fixture(scope="module")
def environment(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    home = tmp_path_factory.mktemp("home")
    with hub.serving() as address:
        yield {
            "HF_ENDPOINT": address, "HF_HOME": str(home), "HF_DATASETS_CACHE": str(home / "datasets"), "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }  # fmt: skip


@pytest.fixture(scope="module")
def run_all(environment: dict[str, str], commits: dict[str, str]) -> Callable[..., Outcomes]:
    """Runs trainings in one new process; gives the exit code and the errors of each."""

    def run(*given: dict[str, Any], **more: str) -> Outcomes:
        base = {"model__backbone": "tiny/bert", "data__dataset": "tiny/sentiment", **RATE}
        commands = [arguments("fit", "TextClassification", "TextClassificationData", **base | options) for options in given]
        output = ftlit([json.dumps(commands)], module="tests.support.several_mistakes", **environment | more)
        return [tuple(line) for line in json.loads(output.splitlines()[-1])]

    return run


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"model__backbone": "tiny/none"}, "model.backbone 'tiny/none' could not be loaded"),
    ({"model__backbone": "tiny/gated"}, "model.backbone 'tiny/gated' is gated: set HF_TOKEN"),
    ({"model__revision": "v7"}, "v7 is not a valid git identifier"),
    ({"model__backbone": "tiny/broken"}, "model.backbone 'tiny/broken' could not be loaded"),
    ({"data__dataset": "tiny/none"}, "data.dataset 'tiny/none' is neither a file or folder here"),
    ({"data__revision": "v7"}, "Revision 'v7' doesn't exist for dataset 'tiny/sentiment'"),
    ({"data__dataset": "tiny/table", "data__config_name": "x"}, "data.config_name 'x'"),
    ({"data__dataset": "tiny/table"}, "Config name is missing"),
]


@pytest.mark.slow
def test_names_revisions_and_the_cache(
    run_all: Callable[..., Outcomes], commits: dict[str, str], hub: Hub, tmp_path: Path
) -> None:
    good = [
        {"run_dir": tmp_path / "first", "model__revision": "v1", "data__revision": "v1"},
        {"run_dir": tmp_path / "table", "data__dataset": "tiny/table", "data__config_name": "all"},
        {"run_dir": tmp_path / "plain", "data__dataset": "tiny/plain"},
    ]
    found = run_all(*good, *({"run_dir": tmp_path / "bad", **bad} for bad, _ in MISTAKES))
    assert [code for code, _ in found] == [0] * len(good) + [2] * len(MISTAKES), found
    for (_, expected), (_, said) in zip(MISTAKES, found[len(good) :], strict=True):
        assert expected in said
        assert len(said.strip().splitlines()) <= 2
    assert not (tmp_path / "bad").exists()

    records = {name: json.loads((tmp_path / name / "run.json").read_text()) for name in ("first", "table", "plain")}
    origin = [records["first"][key] for key in ("backbone", "revision", "commit", "data_commit")]
    assert origin == ["tiny/bert", "v1", commits["first"], commits["data"]]
    assert (records["table"]["revision"], records["table"]["commit"]) == (None, commits["second"])
    prints = [{s: d["fingerprint"] for s, d in record["data"]["splits"].items()} for record in records.values()]
    assert prints[0] == prints[1] == prints[2]

    local = fitted(tmp_path / "local", "TextClassification", model__backbone=commits["model"], data__dataset=commits["rows"])
    results = [json.loads((folder / "results.json").read_text())["validation"] for folder in (local, tmp_path / "first")]
    assert results[0] == results[1]

    asked = len(hub.requests)
    given = {"model__revision": "v1", "data__revision": "v1", "run_dir": tmp_path / "offline"}
    [(code, said)] = run_all(given, HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    assert (code, said) == (0, "")
    assert len(hub.requests) == asked
    assert json.loads((tmp_path / "offline/results.json").read_text())["validation"] == results[0]


@pytest.mark.parametrize(
    ("name", "revision", "expected"),
    [
        ("org/name", "v1", "org/name@v1"),
        ("org/name@v1", "v1", "org/name@v1"),
        ("gpt2", None, "gpt2"),
        ("org/name", "refs/pr/3", "org/name@refs/pr/3"),
        ("org/name@v2", "v1", "'org/name@v2' names another revision than model.revision 'v1'; set only one of them"),
        ("package:a/b", "v1", "model.revision 'v1' is a revision on the hub, but 'package:a/b' is a folder or a file here"),
        ("org/name", "a b", "model.revision 'a b' is not a branch, a tag or a commit of the hub"),
    ],
)
def test_names_with_revisions(name: str, revision: str | None, expected: str) -> None:
    if " " in expected:
        with pytest.raises(UserError) as error:
            pinned(name, revision)
        assert expected in str(error.value)
        return
    assert pinned(name, revision) == expected
    assert unpinned(expected) == (name.partition("@")[0], revision)


def test_a_folder_may_have_an_at_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model@home").mkdir()
    assert unpinned("model@home") == ("model@home", None)
