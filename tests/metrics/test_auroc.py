"""The area under the ROC curve against scikit-learn's, over the labels that have one."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from ftlit.metrics.auroc import MacroMulticlassAUROC, MacroMultilabelAUROC


@pytest.mark.parametrize("absent", [[], [1], [0, 4]])
def test_labels_that_do_not_occur_have_no_part(absent: list[int]) -> None:
    torch.manual_seed(0)
    there = torch.tensor([label for label in range(5) if label not in absent])
    truth = torch.cat([there, there[torch.randint(len(there), (60,))]])
    scores = torch.randn(len(truth), 5).softmax(-1)
    metric = MacroMulticlassAUROC(5)
    for some in torch.arange(len(truth)).tensor_split(4):
        metric.update(scores[some], truth[some])
    areas = [roc_auc_score(truth == label, scores[:, label]) for label in there]
    assert float(metric.compute()) == pytest.approx(sum(areas) / len(areas), abs=1e-6)


def test_labels_of_every_text_or_of_none_have_no_part() -> None:
    torch.manual_seed(0)
    truth, scores = torch.randint(2, (40, 4)), torch.rand(40, 4)
    truth[:, 1], truth[:, 3] = 0, 1
    metric = MacroMultilabelAUROC(4)
    for some in torch.arange(40).tensor_split(3):
        metric.update(scores[some], truth[some])
    areas = [roc_auc_score(truth[:, label], scores[:, label]) for label in (0, 2)]
    assert float(metric.compute()) == pytest.approx(sum(areas) / 2, abs=1e-6)
    metric.reset()
    metric.update(scores, torch.ones(40, 4, dtype=torch.long))
    assert metric.compute().isnan()
