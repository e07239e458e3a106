"""The real data sets are read whole: no row lost, no label changed."""

import pytest

from ftlit.data.sources.load import load_splits
from tests.support.data import REAL_DATA

pytestmark = pytest.mark.real_data
SIZES = {
    "sst2": (6920, 872, 1821),
    "stsb": (5749, 1500, 1379),
    "go_emotions": (15000, 5426, 5427),
    "ag_news": (5000, 1000, 7600),
    "sms_spam": (4460, 557, 557),
    "mrpc": (3576, 500, 1725),
}


@pytest.mark.parametrize("name", SIZES)
def test_every_row_is_read(name: str) -> None:
    splits = load_splits(str(REAL_DATA / name))
    assert tuple(len(splits[split]) for split in ("train", "validation", "test")) == SIZES[name]


def test_labels_of_sst2_stay_as_written() -> None:
    rows = load_splits(str(REAL_DATA / "sst2"))["test"]
    assert set(rows["label"]) == {"0", "1"}
    assert sum(label == "1" for label in rows["label"]) == 909
