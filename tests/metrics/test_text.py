"""Metrics of generated text against the libraries they stand on, and worked examples."""

import random

import pytest
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import corpus_bleu, corpus_chrf

from ftlit.errors import UserError
from ftlit.metrics.language import sentences
from ftlit.metrics.ngrams import ROUGE_TYPES, bleu, chrf, meteor, rouge
from ftlit.metrics.text import TEXT_METRICS, exact_match_rate, pattern_match, signatures, text_scores, token_f1

WORDS = ["The", "cat", "cats", "running", "runs", "quickly", ",", "sat", "on", "a", "mat", ".", "and", "dogs", "1,000", "birds"]
GSM8K = r"#### (-?[0-9.,]+)"


class NoSynonyms:
    def synsets(self, word: str) -> list:
        return []


def changed(rng: random.Random, words: list[str]) -> str:
    """A text with some words replaced and some left out, so that precision and recall differ."""
    return " ".join(rng.choice(WORDS) if rng.random() < 0.3 else word for word in words if rng.random() < 0.85)


def random_rows(seed: int = 0, count: int = 30) -> tuple[list[str], list[list[str]]]:
    """Predictions, and one to three references of each."""
    rng = random.Random(seed)
    texts = [rng.choices(WORDS, k=rng.randint(6, 20)) for _ in range(count)]
    references = [[changed(rng, text) + rng.choice(["", "\nand more"]) for _ in range(rng.randint(1, 3))] for text in texts]
    return [changed(rng, text) for text in texts], references


def padded(references: list[list[str]]) -> list[list[str | None]]:
    """References as sacrebleu takes them: three lists, as long as the predictions."""
    return [[row[i] if i < len(row) else None for row in references] for i in range(3)]


def test_bleu_and_chrf_are_sacrebleu_s() -> None:
    predictions, references = random_rows()
    assert bleu(predictions, references) == {"bleu": corpus_bleu(predictions, padded(references)).score}
    assert chrf(predictions, references) == {"chrf": corpus_chrf(predictions, padded(references)).score}
    ones = [row[:1] for row in references]
    swapped = bleu([row[0] for row in ones], [[text] for text in predictions])["bleu"]
    assert bleu(predictions, ones)["bleu"] != pytest.approx(swapped), "these rows cannot tell the order of the arguments"


def test_bleu_by_hand() -> None:
    # 1- to 4-grams: 5/6, 3/5, 1/4, and 0/3 smoothed to 1/(2 * 3); both have 6 words.
    expected = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** (1 / 4)
    assert bleu(["the cat sat on a mat"], [["the cat sat at a mat"]])["bleu"] == pytest.approx(expected)
    assert bleu(["the cat sat on a mat"], [["a dog", "the cat sat on a mat"]])["bleu"] == pytest.approx(100)


def test_bleu_splits_chinese_into_characters() -> None:
    predictions, references = ["我喜欢北京的秋天。"], [["我很喜欢北京的秋天。"]]
    assert bleu(predictions, references)["bleu"] == corpus_bleu(predictions, [["我很喜欢北京的秋天。"]], tokenize="zh").score
    assert 50 < bleu(predictions, references)["bleu"] < 100
    english, gold = ["one two three four 京都", "six seven"], ["one two three four 京大", "six eight"]
    assert bleu(english, [[text] for text in gold])["bleu"] == corpus_bleu(english, [gold]).score, (
        "one name is not Chinese text"
    )


def test_bleu_splits_japanese_into_characters() -> None:
    predictions, gold = ["私はラーメンが好きです。"], ["私はとてもラーメンが好きです。"]
    score = bleu(predictions, [gold])["bleu"]
    assert score == corpus_bleu(predictions, [gold], tokenize="char").score
    assert score != pytest.approx(corpus_bleu(predictions, [gold], tokenize="zh").score), "this text has no run of kana"
    assert "|tok:char|" in signatures(["bleu"], [gold])["bleu"]
    assert "|tok:zh|" in signatures(["bleu"], [["我爱北京"], ["の是日文"], ["我爱南京"]])["bleu"], "one sign is not Japanese"


@pytest.mark.parametrize("stemmer", [False, True])
def test_rouge_is_rouge_score_s(stemmer: bool) -> None:
    predictions, references = random_rows(1)
    predictions[0], references[0] = "Caf in it 3 runs", ["Café — naïve, its 3.5 run!"]  # short words keep their endings
    scorer = RougeScorer(ROUGE_TYPES, use_stemmer=stemmer)
    lines = {text: "\n".join(sentences(text)) for text in (*predictions, *(text for row in references for text in row))}
    rows = [
        scorer.score_multi([lines[other] for other in gold], lines[text])
        for text, gold in zip(predictions, references, strict=True)
    ]
    expected = {name: sum(row[name].fmeasure for row in rows) / len(rows) for name in ROUGE_TYPES}
    assert rouge(predictions, references, stemmer=stemmer) == pytest.approx(expected)
    assert rouge(predictions, references) == rouge(predictions, references, stemmer=True)


def test_rouge_lsum_compares_sentences() -> None:
    ordered, turned = "Dr. Smith has 3.5 cats. The dog ran!", "The dog ran! Dr. Smith has 3.5 cats."
    assert sentences(ordered) == ["Dr. Smith has 3.5 cats.", "The dog ran!"]
    assert sentences("我爱北京。你呢？") == ["我爱北京。", "你呢？"]
    assert sentences("a b. c\nd") == ["a b. c", "d"], "lines are sentences, as rouge_score has them"
    scores = rouge([ordered], [[turned]])
    assert scores["rougeL"] < scores["rougeLsum"] == 1
    assert rouge([ordered.replace("! ", "!\n")], [[turned]])["rougeLsum"] == 1


def test_rouge_by_hand() -> None:
    scores = rouge(["the cat sat on mats"], [["no such words", "on the mat the cat sat"]], stemmer=False)
    assert scores["rouge1"] == pytest.approx(2 * 4 / 11)
    assert scores["rouge2"] == pytest.approx(2 * 2 / 9)
    assert scores["rougeL"] == pytest.approx(2 * 3 / 11)
    lines = rouge(["b c\na"], [["a\nb c"]])
    assert (lines["rougeL"], lines["rougeLsum"]) == pytest.approx((2 / 3, 1))


def test_rouge_takes_the_best_reference_of_each_score() -> None:
    one, other = "a b c x", "c b a d"
    scores = rouge(["a b c d"], [[one, other]])
    singles = [rouge(["a b c d"], [[text]]) for text in (one, other)]
    assert singles[0]["rouge1"] < singles[1]["rouge1"]
    assert singles[0]["rouge2"] > singles[1]["rouge2"]
    assert scores == {name: max(single[name] for single in singles) for name in ROUGE_TYPES}


def test_rouge_of_other_scripts() -> None:
    assert rouge(["我爱北京"], [["我爱南京"]])["rouge1"] == pytest.approx(3 / 4)
    assert rouge(["我爱北京"], [["我爱南京"]])["rouge2"] == pytest.approx(1 / 3)
    assert rouge(["GPT模型。"], [["模型gpt"]])["rouge1"] == 1
    assert rouge(["Привет, мир"], [["привет город"]])["rouge1"] == pytest.approx(1 / 2)


def test_meteor_is_nltk_s_without_synonyms() -> None:
    predictions, references = random_rows(2)
    # A number with a comma is three tokens here, but one to nltk's user who splits at spaces.
    texts = [text.replace("1,000", "many") for text in predictions]
    gold = [[text.replace("1,000", "many") for text in row] for row in references]
    rows = [
        meteor_score([g.split() for g in row], text.split(), wordnet=NoSynonyms())
        for text, row in zip(texts, gold, strict=True)
    ]
    assert meteor(texts, gold) == pytest.approx({"meteor": sum(rows) / len(rows)})


def test_meteor_by_hand() -> None:
    # Three of four words match, `runs` by its stem, in one chunk: P = 3/4, R = 1, penalty 0.5 * (1/3)^3.
    fmean = (3 / 4 * 1) / (0.9 * 3 / 4 + 0.1 * 1)
    expected = (1 - 0.5 * (1 / 3) ** 3) * fmean
    assert meteor(["The cat runs now"], [["the cat running"]])["meteor"] == pytest.approx(expected)
    assert meteor(["now", "The cat runs now"], [["later"], ["now", "the cat running"]])["meteor"] == pytest.approx(expected / 2)
    assert meteor(["我爱北京"], [["我爱京"]])["meteor"] > 0.5


def test_answers_count_as_in_squad() -> None:
    predictions, references = ["The cat!", "black cat", "", "北京市"], [["dog", "cat"], ["cat"], [], ["北京"]]
    assert exact_match_rate(predictions, references) == {"exact_match": 0.5}
    assert token_f1(predictions, references)["token_f1"] == pytest.approx((1 + 2 / 3 + 1 + 0) / 4)
    assert token_f1(predictions, references, "characters")["token_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1 + 4 / 5) / 4)
    assert token_f1(["北京市"], [["北京"]])["token_f1"] == pytest.approx(4 / 5), "most references are Chinese"


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("so #### 1,234", True),
        ("#### 7 no, #### 1234.", False),
        ("#### 1234. no, #### 7", True),
        ("#### 1234\n\nQuestion: what next? #### 7", True),
        ("1234", False),
        ("#### -1234", False),
        ("", False),
    ],
)
def test_the_first_match_of_a_pattern_counts_as_in_lm_eval(prediction: str, right: bool) -> None:
    assert pattern_match([prediction], [["5 + 1 = 6 #### 1,234"]], GSM8K) == {"pattern_match": float(right)}


def test_the_last_match_counts_where_it_is_asked_for() -> None:
    replies, solutions = ["#### 7 no, #### 1234.", "that is 12 + 3 = $15."], [["#### 5 #### 1,234"], ["12 + 3 = 15 #### 15"]]
    assert pattern_match(replies, solutions, GSM8K, "last") == {"pattern_match": 0.5}
    numbers = r"(-?[$0-9.,]{2,})|(-?[0-9]+)"  # lm-eval's flexible-extract: the group that is not empty
    assert pattern_match(replies, solutions, numbers, "last") == {"pattern_match": 1}
    assert pattern_match(["7"], [["so 7"]], numbers) == {"pattern_match": 1}


def test_pattern_without_a_match_in_both_is_wrong() -> None:
    assert pattern_match(["x", "#### 2"], [["y"], ["#### 1", "#### 2"]], GSM8K) == {"pattern_match": 0.5}
    assert pattern_match(["(C) or (B)"], [["(C)"]], r"\([A-D]\)") == {"pattern_match": 1}
    assert pattern_match(["a, b."], [["a, b"]], r"(.+)") == {"pattern_match": 0}, "only numbers lose commas and full stops"
    assert pattern_match([], [], GSM8K) == {"pattern_match": 0}
    with pytest.raises(UserError, match="matches none of the 1 references"):
        pattern_match(["#### 1"], [["1"]], GSM8K)
    with pytest.raises(UserError, match="is not a valid regular expression"):
        pattern_match(["1"], [["1"]], "(")


@pytest.mark.parametrize("name", TEXT_METRICS)
def test_empty_texts_and_no_rows(name: str) -> None:
    assert set(TEXT_METRICS[name]([], []).values()) == {0}
    assert set(TEXT_METRICS[name](["", ""], [["a cat"], ["two", "dogs bark"]]).values()) == {0}
    assert all(0 <= score <= 100 for score in TEXT_METRICS[name](["a cat", ""], [[""], ["", "dogs bark"]]).values())


@pytest.mark.parametrize("name", ["bleu", "chrf", "rouge", "meteor"])
def test_each_row_needs_a_reference(name: str) -> None:
    with pytest.raises(UserError, match="row 1 has no reference"):
        TEXT_METRICS[name](["a", "b"], [["a"], []])
    with pytest.raises(UserError, match="2 predictions, but references for 1"):
        TEXT_METRICS[name](["a", "b"], [["a"]])


def test_scores_by_name() -> None:
    predictions, references = random_rows(3)
    scores = text_scores(["rouge", "bleu", "token_f1"], predictions, references)
    assert scores == {**rouge(predictions, references), **bleu(predictions, references), **token_f1(predictions, references)}
    with pytest.raises(UserError, match=r"unknown text metric 'belu'\. Did you mean 'bleu'\?"):
        text_scores(["chrf", "belu"], predictions, references)


def test_signatures_say_how_a_metric_counts() -> None:
    _, references = random_rows()
    assert signatures(["bleu"], references)["bleu"].startswith("nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert signatures(["bleu"], [["我爱"], ["北京"]])["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:zh|")
    assert signatures(["chrf"], [["a", "b"]])["chrf"].startswith("nrefs:2|case:mixed|eff:yes|nc:6|nw:0|")
    bare = signatures(list(TEXT_METRICS))
    assert set(bare) == set(TEXT_METRICS)
    assert "nrefs" not in bare["bleu"]
    assert "tok" not in bare["bleu"]
    assert "stemmer:porter" in bare["rouge"]
    assert "articles:no" in bare["token_f1"]
    assert "articles:yes" in signatures(["token_f1"], [["北京"]])["token_f1"]
    names = ["bertscore:roberta-large", "bertscore:models/mine", "bertscore:models/mine@3"]
    layers = [signature.split("|")[1] for signature in signatures(names).values()]
    assert layers == ["layer:17", "layer:last", "layer:3"]
    with pytest.raises(UserError, match="unknown text metric"):
        signatures(["bluu"])
