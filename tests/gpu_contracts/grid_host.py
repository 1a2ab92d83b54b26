"""CUDA sources run on the host with every block resident: built with g++ behind grid/grid_host.h, run in a process.

A program is built for one of some ways of looking at it:

- "plain": all blocks on one thread, in the order that a seed decides; fast;
- "check": the same, with every access checked (grid_check.cpp);
- "threads", "tsan", "asan": a block an OS thread, alone or watched by a sanitizer;
- "library": as "plain", to be loaded by the do-nothing driver.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Mode = Literal["plain", "check", "threads", "tsan", "asan", "library"]

HERE = Path(__file__).parent / "grid"
HEADERS = Path(__file__).parents[2] / "kernels" / "decoder"
MACHINE = ("grid_machine.cpp", "grid_words.cpp", "grid_check.cpp")
KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^)]*\)\s*)?(\w+)\(')
CONSTANT, GIVEN, SCRATCH = 0, 1, 2
# Options for the kernel's source, the machine, and the linker.
FLAGS: dict[Mode, tuple[list[str], list[str], list[str]]] = {
    "plain": (["-O2", "-g1"], [], []),
    "library": (["-O2"], [], ["-shared"]),
    "check": (["-O1", "-g", "-fsanitize=thread", "-DGRID_CHECK"], ["-DGRID_CHECK"], []),
    "threads": (["-O2", "-g1", "-DGRID_THREADS"], [], []),
    "tsan": (["-O1", "-g", "-fsanitize=thread", "-DGRID_THREADS"], ["-DGRID_TSAN"], ["-fsanitize=thread"]),
    "asan": (
        ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-DGRID_THREADS"],
        ["-DGRID_ASAN"],
        ["-fsanitize=address,undefined"],
    ),
}
SECONDS = 600


class GridError(AssertionError):
    """A run that failed: what happened, and the seed and schedule under which it happens again."""

    def __init__(self, fault: str, seed: int, schedule: str) -> None:
        self.fault, self.seed, self.schedule = fault, seed, schedule
        super().__init__(f"{fault}\nseed {seed}, schedule {schedule[:2000]!r}")


@dataclass(frozen=True)
class Buffer:
    """Memory that a kernel may touch; `kind` is CONSTANT, GIVEN, or SCRATCH (nothing there may be read yet)."""

    values: np.ndarray
    kind: int = GIVEN


@dataclass(frozen=True)
class Argument:
    """A kernel's argument as bytes, with the addresses of buffers at some offsets."""

    content: bytes
    places: tuple[tuple[int, str], ...] = ()


def pointer(name: str) -> Argument:
    """Return the argument that is a buffer's address."""
    return Argument(bytes(8), ((0, name),))


def _made(target: Path, command: Sequence[str]) -> Path:
    """Run a command that makes a file; another process may be making the same one."""
    own = target.with_name(f"{target.name}.{os.getpid()}")
    done = subprocess.run([*command, "-o", str(own)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return own.replace(target)


def _compiled(source: Path, target: Path, flags: Sequence[str]) -> Path:
    always = ["-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    return target if target.is_file() else _made(target, ["g++", *always, *flags, "-c", str(source)])


def machine(folder: Path, mode: Mode) -> list[Path]:
    """Compile the machine for a mode, once a folder."""
    group = "".join(FLAGS[mode][1]).replace("-D", "").lower() or "bare"
    return [
        _compiled(HERE / name, folder / f"{group}-{Path(name).stem}.o", ["-O2", "-g", *FLAGS[mode][1]])
        for name in (*MACHINE, "grid_library.cpp" if mode == "library" else "grid_main.cpp")
    ]


@dataclass(frozen=True)
class Program:
    """A kernel's source, compiled for a mode."""

    path: Path
    mode: Mode

    def run(
        self,
        kernel: str,
        launch: tuple[int, int, int],
        buffers: Mapping[str, Buffer],
        arguments: Sequence[Argument],
        *,
        seeds: tuple[int, int] = (0, 1),
        schedule: str = "",
    ) -> dict[str, np.ndarray]:
        """Run and return the buffers that are not constant.

        Parameters
        ----------
        kernel : str
        launch : tuple of int
            Blocks, threads of a block, bytes of dynamic shared memory.
        buffers, arguments
        seeds : tuple of int
            First seed, and how many: each must leave the same bytes.
        schedule : str
            One that a fault has reported, to run it again.

        Raises
        ------
        GridError
        """
        case, out = (self.path.with_name(f"{self.path.name}.{os.getpid()}.{kind}") for kind in ("case", "out"))
        case.write_bytes(_case(kernel, launch, buffers, arguments))
        concurrent = str(int(self.mode in {"threads", "tsan", "asan"}))
        command = [str(self.path), str(case), str(out), concurrent, *map(str, seeds), *([schedule] if schedule else [])]
        environment = {"TSAN_OPTIONS": "halt_on_error=1 exitcode=66", "ASAN_OPTIONS": "detect_leaks=0"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise GridError(f"hang: no end after {SECONDS} s", seeds[0], schedule) from error
        if done.returncode:
            raise self._fault(done, seeds[0])
        found, at = {}, 0
        content = out.read_bytes()
        for name, buffer in buffers.items():
            if buffer.kind != CONSTANT:
                size = buffer.values.nbytes
                part = np.frombuffer(content[at : at + size], buffer.values.dtype)
                found[name] = part.reshape(buffer.values.shape)
                at += size
        return found

    def _fault(self, done: subprocess.CompletedProcess[str], seed: int) -> GridError:
        said = dict(re.findall(r"^(seed|schedule) (.*)$", done.stdout, re.MULTILINE))
        fault = done.stdout.partition("fault ")[2].partition("\nseed")[0]
        if not fault:
            watched = re.search(r"(WARNING: Thread|ERROR: Address)Sanitizer.*|runtime error.*", done.stderr, re.DOTALL)
            fault = f"the program ended with {done.returncode}: {done.stderr[-1000:]}"
            fault = watched.group(0)[:3000] if watched else fault
        return GridError(self._with_lines(fault), int(said.get("seed", seed)), said.get("schedule", ""))

    def _with_lines(self, text: str) -> str:
        """Put source lines in the place of addresses."""
        for address in set(re.findall(r"<(0x[0-9a-f]+)>", text)):
            command = ["addr2line", "-i", "-e", str(self.path), address]
            lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
            named = [Path(line.split(" (")[0]).name for line in lines if line]
            text = text.replace(f"<{address}>", " in ".join(named))
        return text


def build(
    folder: Path,
    source: str,
    name: str,
    mode: Mode,
    defines: Sequence[str] = (),
    included: Mapping[str, str] | None = None,
) -> Program:
    """Compile CUDA source for a mode, once a folder.

    Parameters
    ----------
    folder : Path
    source : str
    name : str
        Of the source, in reports.
    mode : str
    defines : sequence of str
    included : mapping of str to str
        Headers by name; by default those of the kernels.
    """
    headers = HEADERS
    if included is not None:
        headers = folder / hashlib.sha256(repr(sorted(included.items())).encode()).hexdigest()[:16]
        headers.mkdir(exist_ok=True)
        for file, text in included.items():
            (headers / file).write_text(text)
    key = hashlib.sha256(repr((source, mode, defines, str(headers))).encode()).hexdigest()[:16]
    made = folder / f"{Path(name).stem}-{mode}-{key}"
    if not made.is_file():
        unit = made.with_suffix(".cpp")
        registered = "".join(f"GRID_KERNEL({kernel})\n" for kernel in KERNEL.findall(source))
        unit.write_text(f'#include "grid_host.h"\n#line 1 "{name}"\n{source}\n{registered}')
        flags = [*FLAGS[mode][0], f"-I{HERE}", f"-I{headers}", *(f"-D{define}" for define in defines)]
        objects = [_compiled(unit, made.with_suffix(".o"), flags), *machine(folder, mode)]
        _made(made, ["g++", *FLAGS[mode][2], *map(str, objects), "-pthread", "-ldl"])
    return Program(made, mode)


def _text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def _case(
    kernel: str, launch: tuple[int, int, int], buffers: Mapping[str, Buffer], arguments: Sequence[Argument]
) -> bytes:
    names = list(buffers)
    parts = [_text(kernel.encode()), struct.pack("<3I", *launch), struct.pack("<I", len(buffers))]
    for name, buffer in buffers.items():
        content = np.ascontiguousarray(buffer.values)
        # What nothing may read yet is no sensible number.
        filled = b"\xff" * content.nbytes if buffer.kind == SCRATCH else content.tobytes()
        parts += [_text(name.encode()), struct.pack("<I", buffer.kind), _text(filled)]
    parts.append(struct.pack("<I", len(arguments)))
    for argument in arguments:
        parts += [_text(argument.content), struct.pack("<I", len(argument.places))]
        parts += [struct.pack("<2I", offset, names.index(name)) for offset, name in argument.places]
    return b"".join(parts)
