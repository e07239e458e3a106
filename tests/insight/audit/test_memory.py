"""What written texts repeat of train: passages and personal data."""

import json
import random
from pathlib import Path

import pytest

import ftlit
from ftlit.insight.audit.memory.passages import TrainPassages, words_of
from ftlit.insight.audit.memory.personal import is_card, is_iban, personal_data
from tests.support.data import NEUTRAL
from tests.support.every_task import CASES, run_of


def found(text: str) -> list[tuple[str, str]]:
    return [(one.kind, one.value) for one in personal_data(text)]


def test_the_longest_passage_is_found() -> None:
    """In texts of random words, as by comparing all parts of all texts."""
    rng = random.Random(0)
    train = [" ".join(rng.choices(NEUTRAL[:6], k=rng.randint(1, 30))) for _ in range(30)]
    index = TrainPassages(train, 4)
    for _ in range(60):
        words = rng.choices(NEUTRAL[:6], k=rng.randint(1, 12))
        parts = [words[i:j] for i in range(len(words)) for j in range(i + 4, len(words) + 1)]
        longest = max((len(part) for part in parts if any(f" {' '.join(part)} " in f" {text} " for text in train)), default=0)
        passage = index.longest(" ".join(words))
        assert (len(passage.words) if passage else 0) == longest
        assert passage is None or f" {' '.join(passage.words)} " in f" {train[passage.text]} "


def test_signs_and_capitals_do_not_hide_a_passage_but_copied_ones_do_not_count() -> None:
    index = TrainPassages(["The secret code of the house is four-two-one.", "今天天气非常好我们去公园"], 5)
    passage = index.longest("He said: THE SECRET CODE, of the house!")
    assert passage is not None
    assert " ".join(passage.words) == "the secret code of the house"
    assert index.longest("The secret code of the house", given=["Repeat: the secret code of the house"]) is None
    assert index.longest("the secret code of a house") is None
    assert index.longest("他说今天天气非常好") is not None
    assert words_of("Don't 去公园") == ["don", "t", "去", "公", "园"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to Ann.Lee+x@mail.example.org.", [("e-mail", "ann.lee+x@mail.example.org")]),
        ("a@b and @home", []),
        ("IBAN GB82 WEST 1234 5698 7654 32, please", [("IBAN", "gb82west12345698765432")]),
        ("IBAN GB82 WEST 1234 5698 7654 33", []),
        ("DE89370400440532013000", [("IBAN", "de89370400440532013000")]),
        ("card 4111 1111 1111 1111", [("card", "4111111111111111")]),
        ("card 4111 1111 1111 1112", []),
        ("call +44 20 7946 0958 now", [("phone", "+442079460958")]),
        ("call (030) 901820-55", [("phone", "03090182055")]),
        ("电话13812345678。", [("phone", "13812345678")]),
        ("in 1999 and 2001, 3.14 of 12345678", []),
        ("0000 0000 0000 0000", []),
    ],
)
def test_personal_data(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


def test_one_digit_off_is_no_account_and_no_card() -> None:
    iban, card = "DE89370400440532013000", "4539578763621486"
    assert is_iban(iban)
    assert is_card(card)
    for i in range(4, len(iban)):
        assert not is_iban(f"{iban[:i]}{(int(iban[i]) + 1) % 10}{iban[i + 1 :]}")
    for i in range(len(card)):
        assert not is_card(f"{card[:i]}{(int(card[i]) + 1) % 10}{card[i + 1 :]}")


@pytest.mark.slow
def test_a_model_that_repeats_train(tmp_path: Path) -> None:
    """Every second text is a target of train, and every third has an address: in the kept texts of a run."""
    run = run_of(CASES[-1], tmp_path, model__metrics="[bleu]", model__generation__max_new_tokens=8, data__limit_train=None)
    train = [json.loads(line)["target"] for line in (tmp_path / "data/train.jsonl").read_text().splitlines()]
    target = next(text for text in train if len(text.split()) >= 12)
    file = run / "predictions/validation.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for i, row in enumerate(rows):
        row["prediction"] = (f"so {target} then" if i % 2 else "nothing") + (" me@example.org" if i % 3 == 0 else "")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"substitutions": None, "behaviour": None, "gate": {"max_verbatim": 0.1, "max_personal": 0.9}}
    audit = ftlit.audit(run, config, split="validation")
    own = audit.memory.set_index("what")
    assert own["found"].to_dict() == {
        "passages of train": len(rows) // 2, "e-mail": -(-len(rows) // 3), "IBAN": 0, "card": 0, "phone": 0,
        "personal data": -(-len(rows) // 3),
    }  # fmt: skip
    assert own.loc["e-mail", "in_train"] == 0
    assert set(audit.passages["passage"]) == {target}
    assert [(check.limit, check.kept) for check in audit.checks] == [("max_verbatim", False), ("max_personal", True)]
