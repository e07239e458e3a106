"""Tiny models of every architecture of the matrix."""

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def folder_of(tiny: Callable[[str], str], tiny_seq2seq: Callable[[str], str]) -> Callable[[str], str]:
    """Folder of a tiny model of an architecture, an encoder and decoder (t5) among them."""
    return lambda architecture: tiny_seq2seq(architecture) if architecture == "t5" else tiny(architecture)
