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
        ("tensorrt,opt_batch=4,opt_seconds=12.5,engines=2",
         Backend("tensorrt", opt_batch=4, opt_seconds=12.5, engines=2)),
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
        ("cuda,fp16", "options that cuda has: graphs=…, memory=…, profile=…, tf32"),
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
        ("tensorrt,engines=3", "1 or 2"),
        ("tensorrt,engines=0", "1 or 2"),
        ("tensorrt,opt_batch=9", "within the largest shape, 8 clips of 40 s"),
        ("tensorrt,max_seconds=10,opt_seconds=20", "within the largest shape, 8 clips of 10 s"),
        ("cuda,engines=2", "options that cuda has"),
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


def test_single_clips_have_an_engine_of_their_own_where_asked() -> None:
    assert Backend.parse("tensorrt").for_single_clips() is None
    assert Backend("cuda", engines=2).for_single_clips() is None
    single = Backend.parse("tensorrt:1,fp16,engines=2,max_batch=32,max_seconds=30").for_single_clips()
    assert str(single) == "tensorrt:1,fp16,max_batch=1,max_seconds=30,opt_batch=1,opt_seconds=10"
    short = Backend.parse("tensorrt,engines=2,max_seconds=5").for_single_clips()
    assert short is not None
    assert short.opt_seconds == 5


@pytest.mark.parametrize("given", [None, 3, b"cpu"])
def test_other_types_are_refused(given: Any) -> None:
    with pytest.raises(OptionError):
        Backend.parse(given)
