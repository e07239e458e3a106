"""Padding to tensors with Hugging Face's names."""

import torch

from ftlit.data.batches.collate import collate
from ftlit.util.batch import IGNORED, pad


def test_pad() -> None:
    padded = pad([[1, 2, 3], [4], [5, 6]], 9)
    assert padded.tolist() == [[1, 2, 3], [4, 9, 9], [5, 6, 9]]
    assert padded.dtype == torch.long


def test_pad_of_equal_lengths() -> None:
    assert pad([[1, 2], [3, 4]], 9).tolist() == [[1, 2], [3, 4]]


def test_batch_of_pairs() -> None:
    columns = {"input_ids": [[2, 0, 3], [2, 3]], "token_type_ids": [[0, 0, 1], [0, 1]], "labels": [1, 0]}
    batch = collate({**columns, "truncated": [False, False]}, pad_token_id=7, label_dtype=torch.long)
    assert batch.keys() == {"input_ids", "attention_mask", "token_type_ids", "labels", "tokens", "metadata"}
    assert batch["input_ids"].tolist() == [[2, 0, 3], [2, 3, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]  # by length: a pad token's id in a text is text
    assert batch["token_type_ids"].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert batch["tokens"] == 5
    assert batch["labels"].dtype == torch.long


def test_labels_are_as_asked() -> None:
    ids = {"input_ids": [[1], [2]]}
    assert "labels" not in collate(ids, 0, torch.long)
    assert collate({**ids, "labels": [0.5, 2.0]}, 0, torch.float32)["labels"].tolist() == [0.5, 2.0]
    assert collate({**ids, "labels": [[1, 0, 1], [0, 0, 0]]}, 0, torch.float32)["labels"].shape == (2, 3)


def test_a_label_for_each_token_and_columns_that_stay_lists() -> None:
    columns = {
        "input_ids": [[2, 0, 3], [2, 3]],
        "labels": [[0, 1, 0], [1, 0]],
        "loss_weights": [3, 1],
        "offsets": [[(0, 1)], []],
    }
    batch = collate(columns, pad_token_id=7, padding={"labels": IGNORED}, metadata=("offsets",))
    assert batch["labels"].tolist() == [[0, 1, 0], [1, 0, IGNORED]]
    assert batch["loss_weights"].tolist() == [3.0, 1.0]
    assert batch["metadata"] == {"offsets": [[(0, 1)], []]}
