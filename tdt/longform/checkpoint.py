"""What a long run has done, line by line in a journal, so that a killed run can go on where it was.

A line holds the tokens that a block of windows added, and where decoding stood after it. Going on replays the tokens,
takes up the last state, and cuts the audio into the same blocks again: the result is the same to the last byte.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tdt.longform.chunking import Window
from tdt.longform.skips import Stretch
from tdt.longform.stitching import Thread
from tdt.stages import DecoderState, Hypothesis
from tdt.steps import Steps

if TYPE_CHECKING:
    from pathlib import Path

    from tdt.longform.underway import Part, Recording

VERSION = 2


class Block(NamedTuple):
    """The tokens that each window of a block has added, and the frames of speech that stayed without any."""

    steps: list[tuple[Hypothesis, bool]]
    gaps: list[Stretch]


@dataclass(frozen=True, slots=True)
class Replay:
    """What a journal holds: each block, and the state after the last."""

    blocks: list[Block]
    windows: int
    seconds: float
    thread: Thread


class Journal:
    """The journal of one recording.

    Parameters
    ----------
    path : Path
    identity : dict
        What must be the same for going on: the source, the model, the options.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self._identity = {"version": VERSION, **identity}

    def read(self) -> Replay | None:
        """Return what is there, without a last line that was not finished; None where nothing fits."""
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError:
            return None
        entries = [entry for entry in map(_parsed, lines[:-1]) if entry is not None]
        if len(entries) < 2 or entries[0] != self._identity:
            return None
        try:
            blocks = [
                Block([_step(step) for step in entry["steps"]], [Stretch(*gap) for gap in entry["gaps"]])
                for entry in entries[1:]
            ]
            last = entries[-1]
            return Replay(blocks, int(last["windows"]), float(last["seconds"]), _thread(last["thread"]))
        except (KeyError, TypeError, ValueError):
            return None

    def begin(self, replay: Replay | None = None) -> None:
        """Start the file anew, or drop its unfinished last line."""
        if replay is None:
            self.path.write_bytes(_line(self._identity))
            return
        whole = self.path.read_bytes()
        kept = whole[: whole.rindex(b"\n") + 1]
        if len(kept) < len(whole):
            self.path.write_bytes(kept)

    def add(self, part: Part) -> None:
        """Write down a block; one write, so that it is there whole, or cut off and ignored."""
        recording = part.recording
        entry = {
            "windows": recording.windows,
            "seconds": recording.seconds,
            "steps": [_plain_step(tokens, afresh) for tokens, afresh in part.steps],
            "gaps": [list(gap) for gap in part.gaps],
            "thread": _plain_thread(recording.thread),
        }
        with self.path.open("ab", buffering=0) as file:
            file.write(_line(entry))

    def remove(self) -> None:
        """Forget it: the recording is done."""
        self.path.unlink(missing_ok=True)


def take_up(recording: Recording, replay: Replay) -> None:
    """Put a recording where the journal ends; its segmenter must have been given the journal's tokens."""
    recording.windows, recording.seconds, recording.thread = replay.windows, replay.seconds, replay.thread
    for block in replay.blocks:
        recording.remember(block.steps)


def source_identity(path: Path) -> dict[str, Any]:
    """Return what tells a file from its changed self without reading it."""
    status = path.stat()
    return {"path": str(path.resolve()), "bytes": status.st_size, "changed_ns": status.st_mtime_ns}


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _plain_step(tokens: Hypothesis, afresh: bool) -> dict[str, Any]:
    return {**_plain_hypothesis(tokens), "afresh": afresh}


def _step(entry: dict[str, Any]) -> tuple[Hypothesis, bool]:
    return _hypothesis(entry), bool(entry["afresh"])


def _plain_hypothesis(tokens: Hypothesis) -> dict[str, Any]:
    scores = tokens.entropy_confidences
    return {
        "ids": tokens.token_ids.tolist(),
        "frames": tokens.frames.tolist(),
        "durations": tokens.durations.tolist(),
        "logprobs": _packed(tokens.logprobs),
        "entropy": None if scores is None else _packed(scores),
        **({} if tokens.top_logprobs is None else {"tops": _packed(tokens.top_logprobs)}),
        **({} if tokens.boosted is None else {"boosted": tokens.boosted.tolist()}),
        **({} if tokens.steps is None else {"measured": _plain_steps(tokens.steps)}),
    }


def _hypothesis(entry: dict[str, Any]) -> Hypothesis:
    return Hypothesis(
        np.array(entry["ids"], np.int32),
        np.array(entry["frames"], np.int32),
        np.array(entry["durations"], np.int32),
        _unpacked(entry["logprobs"]),
        None if entry["entropy"] is None else _unpacked(entry["entropy"]),
        _unpacked(entry["tops"]) if "tops" in entry else None,
        np.array(entry["boosted"], bool) if "boosted" in entry else None,
        _measured_steps(entry["measured"]) if "measured" in entry else None,
    )


def _plain_steps(steps: Steps) -> dict[str, Any]:
    frames = steps.blank_frames.tolist()
    return {"durations": _packed(steps.durations), "blank_frames": frames, "blanks": _packed(steps.blanks)}


def _measured_steps(entry: dict[str, Any]) -> Steps:
    frames = np.array(entry["blank_frames"], np.int32)
    return Steps(_unpacked(entry["durations"]).reshape(-1, 2), frames, _unpacked(entry["blanks"]).reshape(-1, 4))


def _plain_thread(thread: Thread) -> dict[str, Any]:
    return {
        "state": None if thread.state is None else _plain_state(thread.state),
        "after": None if thread.after is None else _plain_state(thread.after),
        "tail": None if thread.tail is None else _plain_hypothesis(thread.tail),
        "last": None if thread.last is None else list(thread.last),
    }


def _thread(entry: dict[str, Any]) -> Thread:
    return Thread(
        None if entry["state"] is None else _state(entry["state"]),
        None if entry["after"] is None else _state(entry["after"]),
        None if entry["tail"] is None else _hypothesis(entry["tail"]),
        None if entry["last"] is None else Window(*entry["last"]),
    )


def _plain_state(state: DecoderState) -> dict[str, Any]:
    return {
        "label": state.label,
        "shape": list(state.hidden.shape),
        "hidden": _packed(state.hidden),
        "cell": _packed(state.cell),
        "skip": state.skip,
        "frames": state.frames_decoded,
        **({"models": list(state.model_states)} if state.model_states else {}),
        **({} if state.projected is None else {"projected": _packed(state.projected)}),
    }


def _state(entry: dict[str, Any]) -> DecoderState:
    shape = entry["shape"]
    hidden, cell = _unpacked(entry["hidden"]).reshape(shape), _unpacked(entry["cell"]).reshape(shape)
    models = tuple(entry.get("models", ()))
    projected = _unpacked(entry["projected"]) if "projected" in entry else None
    return DecoderState(entry["label"], hidden, cell, entry["skip"], entry["frames"], models, projected)


def _packed(values: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _unpacked(text: str) -> Any:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)
