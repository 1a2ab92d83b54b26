"""The examples in the docstrings run and give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "tdt", "tdt.longform.batching", "tdt.loading", "tdt.recognizer", "tdt.listening", "tdt.text.render",
    "tdt.commands.names", "tdt.fusion.phrases",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert outcome.attempted > 0
    assert outcome.failed == 0
