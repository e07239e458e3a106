"""Tiny models from configurations, a tokenizer of a hundred words, and small data: no test needs the network."""

import json
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix="ftlit-tests-")
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": CACHE.name,
    "HF_DATASETS_CACHE": f"{CACHE.name}/datasets",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
    "OMP_NUM_THREADS": "1",  # parallel tests share the cores
}

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, PreTrainedTokenizerFast

from ftlit.util.startup import quiet

ON_REQUEST = ("slow", "matrix")  # marks of tests that run only where -m names them
REAL_DATA = Path(os.environ.get("FTLIT_DATA", Path(__file__).parents[2] / "shared" / "data"))
GOOD = ["good", "fine", "lovely", "great", "superb", "brilliant", "delightful", "charming", "warm", "clever"]
BAD = ["bad", "poor", "awful", "dull", "tedious", "clumsy", "horrid", "weak", "stale", "grim"]
NEUTRAL = [f"word{i}" for i in range(76)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
ARCHITECTURES = {
    "bert": SIZE,
    "roberta": {**SIZE, "max_position_embeddings": 66, "pad_token_id": 0},
    "electra": {**SIZE, "embedding_size": 16},
    "mpnet": {**SIZE, "max_position_embeddings": 66, "pad_token_id": 0},
    "deberta-v2": {**SIZE, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48},
    "modernbert": {**SIZE, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3},
    "llama": {**SIZE, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 48, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
}


def pytest_configure() -> None:
    torch.set_num_threads(1)
    quiet()


def named(item: pytest.Item, config: pytest.Config) -> bool:
    """Whether the command line names this test itself, as ``tests/test_x.py::test_y``."""
    wanted = (arg.partition("::") for arg in config.args if "::" in arg)
    own = item.nodeid.partition("::")[2]
    return any(
        item.path == (config.invocation_params.dir / path).resolve()
        and (own == name or own.startswith((f"{name}[", f"{name}::")))
        for path, _, name in wanted
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.option.markexpr or ""  # not by addopts, which another -m would replace
    left_out = [mark for mark in ON_REQUEST if mark not in asked]
    rest = [item for item in items if any(map(item.get_closest_marker, left_out)) and not named(item, config)]
    config.hook.pytest_deselected(items=rest)
    items[:] = [item for item in items if item not in set(rest)]
    if not REAL_DATA.is_dir():
        for item in items:
            if item.get_closest_marker("real_data"):
                item.add_marker(pytest.mark.skip(reason="the real data sets are not here; set FTLIT_DATA to their folder"))


def tiny_tokenizer(pairs: bool = True) -> PreTrainedTokenizerFast:
    """Words separated by spaces, each one token."""
    words = [*SPECIAL, *GOOD, *BAD, *NEUTRAL]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    template = {"single": "[CLS] $A [SEP]", "pair": "[CLS] $A [SEP] $B:1 [SEP]:1"}
    backend.post_processor = processors.TemplateProcessing(**template, special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", *(["token_type_ids"] if pairs else []), "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


def tiny_model(folder: Path, architecture: str = "bert") -> str:
    """A tiny model of an architecture with random, seeded weights and dropout 0.1, in a folder."""
    settings = {"vocab_size": 100, "max_position_embeddings": 64, **ARCHITECTURES[architecture]}
    config = transformers.AutoConfig.for_model(architecture, **settings)
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tiny_tokenizer(pairs=architecture in ("bert", "electra", "deberta-v2")).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a tiny model of an architecture."""
    made: dict[str, str] = {}

    def make(architecture: str = "bert") -> str:
        if architecture not in made:
            made[architecture] = tiny_model(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return make


def sentence(rng: random.Random, words: list[str]) -> str:
    """A text of 2 to 20 words, one of them from `words`."""
    text = rng.choices(NEUTRAL, k=rng.randint(1, 19))
    text.insert(rng.randint(0, len(text)), rng.choice(words))
    return " ".join(text)


def sentiment_rows(count: int, seed: int) -> list[dict[str, str]]:
    """Texts of ragged lengths that are good or bad by one word."""
    rng = random.Random(seed)
    return [
        {"text": sentence(rng, words), "label": label}
        for label, words in (rng.choice([("good", GOOD), ("bad", BAD)]) for _ in range(count))
    ]


def sentiment_splits() -> dict[str, list[dict[str, str]]]:
    """Sentiment rows for each split: 83 of train, 31 of validation, 37 of test."""
    sizes = {"train": 83, "validation": 31, "test": 37}
    return {split: sentiment_rows(count, i) for i, (split, count) in enumerate(sizes.items())}


def write_splits(folder: Path, splits: dict[str, list[dict]]) -> str:
    """A folder with a jsonl file for each split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


@pytest.fixture(scope="session")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set with one label a text: 83 rows of train, 31 of validation, 37 of test."""
    return write_splits(tmp_path_factory.mktemp("sentiment"), sentiment_splits())


@pytest.fixture(scope="session")
def emotions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set with any number of the labels good, bad and long for a text; same sizes."""
    splits = {}
    for split, rows in sentiment_splits().items():
        long = [["long"] if len(row["text"].split()) > 10 else [] for row in rows]
        splits[split] = [{"text": r["text"], "labels": [r["label"], *more]} for r, more in zip(rows, long, strict=True)]
    return write_splits(tmp_path_factory.mktemp("emotions"), splits)


@pytest.fixture(scope="session")
def grades(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of pairs with a number: the share of good words; same sizes."""
    splits = {}
    for split, rows in sentiment_splits().items():
        splits[split] = [
            {"text": r["text"], "other": " ".join(reversed(r["text"].split())), "score": (r["label"] == "good") * 4.0 + j % 3}
            for j, r in enumerate(rows)
        ]
    return write_splits(tmp_path_factory.mktemp("grades"), splits)


SEQ2SEQ = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
    "bart": {"decoder_start_token_id": 3, "bos_token_id": 2, "forced_eos_token_id": 3, "scale_embedding": True},
    "marian": {"decoder_start_token_id": 0, "decoder_vocab_size": 100, "forced_eos_token_id": None},
}
STACKS = {
    "d_model": 32,
    **{
        f"{part}_{name}": value
        for part in ("encoder", "decoder")
        for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 48))
    },
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="session")
def tiny_seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Folder of a tiny encoder–decoder model with random, seeded weights and dropout 0.1."""
    made: dict[str, str] = {}

    def make(architecture: str) -> str:
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            shared = {} if architecture == "t5" else STACKS
            ids = {"vocab_size": 100, "pad_token_id": 0, "eos_token_id": 3}
            config = transformers.AutoConfig.for_model(architecture, **ids, **shared, **SEQ2SEQ[architecture])
            torch.manual_seed(0)
            transformers.AutoModelForSeq2SeqLM.from_config(config).save_pretrained(folder)
            tiny_tokenizer(pairs=False).save_pretrained(folder)
            made[architecture] = str(folder)
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def reversals(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of texts and their words in reverse, in test with a second reference: 40 rows of train, 11, 13."""
    splits: dict[str, list[dict]] = {}
    for split, rows in sentiment_splits().items():
        count = {"train": 40, "validation": 11, "test": 13}[split]
        splits[split] = [
            {"source": r["text"], "target": " ".join(reversed(r["text"].split())), "title": f"word{i}"}
            for i, r in enumerate(rows[:count])
        ]
    for row in splits["test"]:
        row["target"] = [row["target"], row["source"]]
    return write_splits(tmp_path_factory.mktemp("reversals"), splits)


RELATIONS = ["Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Member-Collection(e1,e2)", "Other"]


def relation_rows(count: int, seed: int) -> list[dict]:
    """Texts of 4 to 20 words, two of them entities, and how they relate."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        words = rng.choices(NEUTRAL, k=rng.randint(4, 20))
        starts = [sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]
        head, tail = ({"start": starts[i], "end": starts[i] + len(words[i])} for i in rng.sample(range(len(words)), 2))
        rows.append({"text": " ".join(words), "head": head, "tail": tail, "relation": rng.choice(RELATIONS)})
    return rows


@pytest.fixture(scope="session")
def relations(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of relations: 60 rows of train, 30 of validation, 30 of test."""
    sizes = {"train": 60, "validation": 30, "test": 30}
    return write_splits(
        tmp_path_factory.mktemp("relations"), {s: relation_rows(n, i) for i, (s, n) in enumerate(sizes.items())}
    )


def choice_rows(count: int, seed: int) -> list[dict]:
    """Questions with 2 to 5 choices, of which the right one has a good word."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        size = rng.randint(2, 5)
        label = rng.randrange(size)
        choices = [sentence(rng, GOOD if i == label else BAD) for i in range(size)]
        rows.append({"question": sentence(rng, NEUTRAL), "choices": choices, "label": label})
    return rows


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set of multiple choice: 60 rows of train, 30 of validation, 30 of test."""
    sizes = {"train": 60, "validation": 30, "test": 30}
    return write_splits(tmp_path_factory.mktemp("questions"), {s: choice_rows(n, i) for i, (s, n) in enumerate(sizes.items())})
