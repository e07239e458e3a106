"""New texts of an audit: lexicons, swapped words, templates, and small changes."""

import random
from pathlib import Path

import pytest

from ftlit.errors import UserError
from ftlit.insight.audit.texts.changes import CHANGES, appended, negation
from ftlit.insight.audit.texts.edits import Edit, edited, marked, variant
from ftlit.insight.audit.texts.lexicons import built_in, language_of, lexicon, like
from ftlit.insight.audit.texts.substitution import other_groups, renamed, substituted, words_in
from ftlit.insight.audit.texts.templates import filled


def swapped(text: str, group: str, name: str = "en/gender") -> str | None:
    made = substituted({"text": text}, lexicon(name, "here", "en"), group, random.Random(0))
    return made and made.row["text"]


# Edits


def test_edits_and_how_they_are_shown() -> None:
    edits = [Edit(0, 3, "He"), Edit(9, 9, "not "), Edit(12, 13, "")]
    assert edited("She sang well.", edits) == "He sang not wel."
    assert marked("She sang well.", edits) == "[She → He] sang [+ not ]wel[− l]."
    long = "word " * 100
    assert marked(f"{long}end", [Edit(500, 503, "END")]).startswith("…")
    assert len(marked(f"{long}end {long}", [Edit(500, 503, "END")])) <= 162


def test_all_texts_of_a_row_are_edited_but_names_of_roles() -> None:
    row = {
        "messages": [{"role": "her", "content": "her hat"}, {"role": "user", "content": ["her"]}],
        "number": 3,
        "tokens": ["for", "her", "."],
    }
    made = variant(row, lambda text: [Edit(0, 3, "his")] if text.startswith("her") else [])
    assert made is not None
    assert made.row["messages"] == [{"role": "her", "content": "his hat"}, {"role": "user", "content": ["his"]}]
    assert made.row["tokens"] == ["for", "his", "."]
    assert made.words == {"her": "his"}
    assert variant(row, lambda text: []) is None


def test_places_of_entities_move_with_the_text() -> None:
    text = "Anna met Bo in Ulm"
    places = {"head": {"start": 0, "end": 4}, "tail": {"start": 15, "end": 18}}
    made = variant({"text": text, **places}, lambda one: [Edit(0, 4, "Christopher"), Edit(9, 11, "Jo")])
    assert made is not None
    spans = [made.row["text"][place["start"] : place["end"]] for place in (made.row["head"], made.row["tail"])]
    assert spans == ["Christopher", "Ulm"]
    assert variant({"text": text, **places}, lambda one: [Edit(2, 6, "x")]) is None  # cuts into the first entity


# Lexicons


@pytest.mark.parametrize("name", built_in())
def test_lexicons_of_the_package(name: str) -> None:
    """No word belongs to two groups, so that a word tells its group; each is found in a text, and replaced."""
    found = lexicon(name, "here", "en")
    homes: dict[str, set[str]] = {}
    for entry in found.entries:
        homes.setdefault(f"{entry.word.lower()} {entry.followed}", set()).add(entry.group)
    assert {word: groups for word, groups in homes.items() if len(groups) > 1} == {}
    for entry in found.entries:
        text = f"x {entry.word} person" if found.spaced else f"说{entry.word}好"
        assert [(one.entry.word, one.entry.group) for one in found.find(text)] == [(entry.word, entry.group)], entry
        others = other_groups([entry], found)
        assert others, entry
        assert substituted({"text": text}, found, others[0], random.Random(0)) is not None, entry


@pytest.mark.parametrize(
    ("text", "group", "expected"),
    [
        ("She lost her keys.", "male", "He lost his keys."),
        ("I saw her and left.", "male", "I saw him and left."),
        ("I gave it to her.", "male", "I gave it to him."),
        ("The idea was hers.", "male", "The idea was his."),
        ("He lost his keys, and the car is his.", "female", "She lost her keys, and the car is hers."),
        ("The theme of this history", "female", None),
        ("a heroine in there", "male", "a hero in there"),
    ],
)
def test_gender_is_swapped_as_english_needs_it(text: str, group: str, expected: str | None) -> None:
    assert swapped(text, group) == expected


def test_a_text_with_words_of_both_groups_belongs_to_neither() -> None:
    found = words_in({"text": "HER sister's boyfriend"}, lexicon("en/gender", "here", "en"))
    assert [word.group for word in found] == ["female", "female", "male"]


def test_names_keep_their_case_and_stay_apart() -> None:
    made = swapped("Anna met Emily; Anna's dog likes EMILY.", "male")
    assert made is not None
    first, second = made.split(" met ")[0], made.split(" met ")[1].split(";")[0]
    assert first != second
    assert f"; {first}'s dog likes {second.upper()}." in made
    assert swapped("anna met emily", "male") == swapped("Anna met Emily", "male").lower()  # type: ignore[union-attr]
    assert swapped("The paul of it, said Jo", "female") is None  # a name has a capital where the text has capitals
    assert [like("Anna", word) for word in ("Bo", "BO", "bo", "他")] == ["Anna", "ANNA", "anna", "Anna"]


def test_chinese_words_are_found_without_spaces() -> None:
    assert swapped("他们说王先生的儿子弹吉他，其他人听。", "female", "zh/gender") == "她们说王女士的女儿弹吉他，其他人听。"
    assert swapped("小伙伴们在中国王朝", "female", "zh/gender") is None
    assert [word.group for word in words_in({"text": "她和他"}, lexicon("gender", "here", "zh"))] == ["female", "male"]


def test_another_name_of_the_same_group() -> None:
    names = lexicon("names", "here", "en")
    made = renamed({"text": "Jamal called Lakisha."}, names, random.Random(1))
    assert made is not None
    assert made.row["text"] != "Jamal called Lakisha."
    assert {word.group for word in words_in(made.row, names)} == {"african_american"}


def test_a_lexicon_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "cats.yaml"
    file.write_text("groups: [cats, dogs]\npairs: [[kitten, puppy]]\nwords: {cats: [tabby], dogs: [poodle, beagle]}\n")
    own = lexicon(str(file), "here", "en")
    assert own.name == "cats"
    assert swapped("A kitten and a Tabby", "dogs", str(file)) in ("A puppy and a Poodle", "A puppy and a Beagle")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("gendr", "no lexicon 'gendr'. Did you mean"),
        ("missing.yaml", "missing.yaml cannot be read"),
        ({"groups": ["a"]}, "groups should name two or more groups"),
        ({"groups": ["a", "b"], "words": {"a": ["x"], "c": ["y"]}}, "words has the group 'c'"),
        ({"groups": ["a", "b"], "words": {"a": ["x"]}}, "the group 'b' has no words"),
        ({"groups": ["a", "b"], "pairs": [["x"]]}, "a pair should list a word for each of a, b, got ['x']"),
        ({"groups": ["a", "b"], "words": {"a": [True], "b": ["y"]}}, "put true, false and numbers in quotes"),
        ({"groups": ["a", "b"], "wrods": {}}, "has the key 'wrods'. Did you mean 'words'?"),
        ({"words": {"a": ["x"]}}, "needs the key 'groups'"),
        ({"groups": ["a", "b"], "language": "de"}, "language is 'de'"),
    ],
)
def test_mistakes_in_a_lexicon(given: object, said: str) -> None:
    with pytest.raises(UserError) as error:
        lexicon(given, "substitutions.lexicons[0]", "en")
    assert said in str(error.value)


def test_the_language_of_texts() -> None:
    assert language_of(["这部电影很好", "很差", "fine"]) == "zh"
    assert language_of(["a film", "很差", "fine"]) == "en"


# Templates


def test_templates_are_filled_with_words_of_both_groups() -> None:
    slots = {"name": lexicon("gender", "here", "en"), "place": lexicon("places", "here", "en")}
    found = list(filled(["{name} works in {place}", "I know {name}"], slots, 5, random.Random(0)))
    assert sum(one.groups == ("female", "male") for one in found) == 10
    for one in found:
        if one.groups == ("female", "male"):
            assert [word for word in one.words if word.islower()] == []  # a lexicon with names gives no pronouns
            assert one.texts[0].replace(one.words[0], one.words[1]) == one.texts[1]  # type: ignore[union-attr]
            assert f"[{one.words[0]} → {one.words[1]}]" in one.shown


def test_templates_of_several_columns_and_pairs() -> None:
    own = lexicon({"groups": ["she", "he"], "pairs": [["she", "he"], ["her", "him"]]}, "here", "en")
    found = list(filled([{"a": "{who} is here", "b": "Is {who} here?"}], {"who": own}, 9, random.Random(0)))
    assert sorted(one.words for one in found) == [("her", "him"), ("she", "he")]
    assert {"a": "she is here", "b": "Is she here?"} in [one.texts[0] for one in found]


# Changes


def changed(name: str, text: str, seed: int = 0) -> str:
    return edited(text, CHANGES[name](text, random.Random(seed)))


def test_a_typo_swaps_two_letters_inside_one_word() -> None:
    text = "A wonderful film, see it in 1999"
    for seed in range(20):
        new = changed("typos", text, seed)
        words = [(a, b) for a, b in zip(text.split(), new.split(), strict=True) if a != b]
        assert len(words) == 1
        ((old, other),) = words
        assert (sorted(old), old[0], old.rstrip(",")[-1]) == (sorted(other), other[0], other.rstrip(",")[-1])
    assert changed("typos", "see it all") == "see it all"


def test_case_punctuation_and_numbers() -> None:
    assert changed("case", "It IS Good.") == "it is good."
    assert changed("case", "it is good") == "It is good"
    assert changed("punctuation", "Good!? ") == "Good"
    assert changed("punctuation", "Good") == "Good."
    assert changed("punctuation", "很好") == "很好。"
    new = changed("numbers", "In 1999, 7 of b2b paid 3.50 or 20.")
    assert new != "In 1999, 7 of b2b paid 3.50 or 20."
    assert [len(word) for word in new.split()] == [
        len(word) for word in ["In", "1999,", "7", "of", "b2b", "paid", "3.50", "or", "20."]
    ]
    assert "b2b paid 3.50 or" in new


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The film is good.", "The film is not good."),
        ("It isn't good.", "It isn't good."),
        ("It was never good.", "It was never good."),
        ("Is it good?", "Is it good?"),
        ("IT IS GOOD", "IT IS NOT GOOD"),
        ("Good film", "Good film"),
        ("酒店很好", "酒店不好"),
        ("我喜欢这里", "我不喜欢这里"),
        ("我不喜欢这里", "我不喜欢这里"),
    ],
)
def test_negation(text: str, expected: str) -> None:
    assert edited(text, negation(text, random.Random(0))) == expected


def test_a_sentence_is_added() -> None:
    add = appended("I hated it.")
    texts = ("Fine film", "Fine film! ")
    assert [edited(text, add(text, random.Random(0))) for text in texts] == [
        "Fine film. I hated it.",
        "Fine film! I hated it. ",
    ]
