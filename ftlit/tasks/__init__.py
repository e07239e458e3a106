"""Task modules: the model, the loss and the metrics of each task."""

from ftlit.tasks.base import TaskModule
from ftlit.tasks.text_classification import TextClassification
from ftlit.tasks.text_regression import TextRegression

__all__ = ["TaskModule", "TextClassification", "TextRegression"]
