"""Provider strings: what they mean, that they survive a round trip, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tdt.errors import OptionError
from tdt.runtime.backend import Backend


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu", Backend()),
        ("cuda", Backend("cuda")),
        ("cuda:1", Backend("cuda", 1)),
        ("cuda:0,tf32,memory=4", Backend("cuda", tf32=True, memory_bytes=4 << 30)),
        ("tensorrt:0,fp16,cache=/x/y", Backend("tensorrt", numbers="fp16", cache=Path("/x/y"))),
        ("tensorrt,int8,max_batch=16,max_seconds=20,level=5",
         Backend("tensorrt", numbers="int8", max_batch=16, max_seconds=20, level=5)),
        ("tensorrt:2, bf16", Backend("tensorrt", 2, numbers="bf16")),
        ("tensorrt-rtx:1,cache=/c", Backend("tensorrt-rtx", 1, cache=Path("/c"))),
    ],
)  # fmt: skip
def test_strings_parse_and_come_back(text: str, expected: Backend) -> None:
    backend = Backend.parse(text)
    assert backend == expected
    assert Backend.parse(str(backend)) == backend
    assert Backend.parse(backend) is backend


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cpu, cuda, tensorrt, tensorrt-rtx"),
        ("gpu", "cpu, cuda, tensorrt, tensorrt-rtx"),
        ("CUDA", "cpu, cuda, tensorrt, tensorrt-rtx"),
        ("cpu:0", "the cpu has none"),
        ("cuda:", "device number"),
        ("cuda:-1", "device number"),
        ("cuda:x", "device number"),
        ("cuda,fp16", "options that cuda has: memory=…, profile=…, tf32"),
        ("cpu,tf32", "options that cpu has"),
        ("tensorrt,fp16=1", "options that tensorrt has"),
        ("tensorrt,cache", "options that tensorrt has"),
        ("tensorrt,cache=", "a folder"),
        ("tensorrt,level=6", "from 0 to 5"),
        ("tensorrt,level=-1", "from 0 to 5"),
        ("tensorrt,max_batch=0", "1 or more"),
        ("tensorrt,max_batch=x", "1 or more"),
        ("tensorrt,max_seconds=nan", "above 0"),
        ("tensorrt,max_seconds=inf", "above 0"),
        ("cuda,memory=-2", "above 0"),
        ("cuda,memory=inf", "above 0"),
        ("tensorrt,", "options that tensorrt has"),
        ("tensorrt-rtx,fp16", "options that tensorrt-rtx has"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, problem: str) -> None:
    with pytest.raises(OptionError, match=problem) as caught:
        Backend.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("given", [None, 3, b"cpu"])
def test_other_types_are_refused(given: Any) -> None:
    with pytest.raises(OptionError):
        Backend.parse(given)
