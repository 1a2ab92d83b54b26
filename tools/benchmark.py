#!/usr/bin/env python3
"""`tdt bench` with other projects beside us: same files, same clips, same run, taken in turn.

    tools/benchmark.py --quick                                  the tiny model against onnx-asr, in two minutes
    tools/benchmark.py --model DIR --against onnx-asr,sherpa-onnx --batch 1,8 --length 3,30 --format json -o bench.json

A peer runs the folders of its own layout (onnx-asr: encoder-model*.onnx; sherpa-onnx: encoder*.onnx, decoder, joiner).
Needs the packages of the peers: pip install 'parakeet-tdt[dev]'. All options of `tdt bench` are there.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
import parakeet_tiny

from tdt.commands import bench as command
from tdt.commands.parsing import Parser
from tdt.errors import OptionError, TdtError
from tdt.profiling.bench import Entry
from tdt.profiling.bench_runs import run_sweep
from tdt.profiling.cases import make_cases
from tdt.profiling.rows import versus
from tdt.profiling.selecting import cases_of, label_of, precisions_of, recordings_of
from tdt.profiling.worker import Answer, Facts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tdt.profiling.cases import Case
    from tdt.profiling.rows import Row
    from tdt.profiling.worker import Clips

SAMPLE_RATE_HZ = 16000


@dataclass(slots=True)
class OnnxAsr:
    """onnx-asr on a folder of its layout; a contender. Threads: all cores, its default."""

    folder: str
    precision: str
    _model: Any = field(default=None)

    def load(self) -> None:
        """Open the sessions."""
        import onnx_asr

        quantization = "int8" if self.precision == "int8" else None
        providers = ["CPUExecutionProvider"]
        self._model = onnx_asr.load_model(
            "nemo-conformer-tdt", self.folder, quantization=quantization, providers=providers
        )

    def run(self, clips: Clips, batch: int) -> list[Answer]:
        """Transcribe the clips."""
        texts: list[str] = []
        for start in range(0, len(clips), batch):
            texts += self._model.recognize(list(clips[start : start + batch]), sample_rate=SAMPLE_RATE_HZ)
        return [Answer(text) for text in texts]

    def facts(self, clips: Clips, batch: int) -> Facts:  # noqa: ARG002
        """Return the precision; peers tell no more of themselves."""
        return Facts(precision=self.precision)


@dataclass(slots=True)
class SherpaOnnx:
    """sherpa-onnx on a folder of its layout; a contender. Threads: all cores."""

    folder: str
    precision: str
    n_mels: int
    threads: int
    _recognizer: Any = field(default=None)

    def load(self) -> None:
        """Open the sessions."""
        import sherpa_onnx

        suffix = ".int8.onnx" if self.precision == "int8" else ".onnx"
        paths = {part: str(Path(self.folder) / (part + suffix)) for part in ("encoder", "decoder", "joiner")}
        self._recognizer = sherpa_onnx.OfflineRecognizer.from_transducer(
            **paths,
            tokens=str(Path(self.folder) / "tokens.txt"),
            num_threads=self.threads,
            feature_dim=self.n_mels,
            model_type="nemo_transducer",
        )

    def run(self, clips: Clips, batch: int) -> list[Answer]:
        """Transcribe the clips."""
        answers = []
        for start in range(0, len(clips), batch):
            streams = []
            for clip in clips[start : start + batch]:
                streams.append(self._recognizer.create_stream())
                streams[-1].accept_waveform(SAMPLE_RATE_HZ, clip)
            self._recognizer.decode_streams(streams)
            answers += [Answer(stream.result.text.strip()) for stream in streams]
        return answers

    def facts(self, clips: Clips, batch: int) -> Facts:  # noqa: ARG002
        """Return the precision; peers tell no more of themselves."""
        return Facts(precision=self.precision)


PEERS = {"onnx-asr": "onnx-asr", "sherpa-onnx": "sherpa-onnx"}  # name → layout


def peers_of(model: str | None, args: argparse.Namespace) -> list[Entry]:
    """Return the peers' entries on a model folder, where its layout is theirs."""
    from tdt.cores import usable_cores
    from tdt.model.finding import find_model

    names = [name for name in args.against.split(",") if name]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise OptionError("against", args.against, f"some of {', '.join(PEERS)}, separated by commas")
    files, spec = find_model(model)
    entries = []
    for name in (name for name in names if PEERS[name] == files.layout):
        for precision in precisions_of(model, args.precision):
            folder = str(files.folder)
            peer: OnnxAsr | SherpaOnnx = OnnxAsr(folder, precision)
            if name == "sherpa-onnx":
                peer = SherpaOnnx(folder, precision, spec.n_mels, usable_cores())
            entries.append(Entry(peer, name, label_of(model), "cpu", precision))
    return entries


def verdict(rows: Sequence[Row]) -> list[str]:
    """Return a line for each row of ours: whether it beats the peers on the same case and precision."""
    lines = []
    for row in rows:
        for peer, faster in row.faster_than.items():
            beaten = "beats" if faster.value >= 1 else "DOES NOT BEAT"
            what = f"{row.model} {row.precision}, {row.clip_seconds:.1f} s × {row.batch}"
            lines.append(f"{what}: tdt {beaten} {peer}: {versus(faster)}")
    return lines


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser("tools/benchmark.py", __doc__ or "", command.EPILOG)
    command.add_arguments(parser)
    parser.add_argument("--against", default="onnx-asr,sherpa-onnx", help="peers (default: onnx-asr,sherpa-onnx)")
    parser.add_argument(
        "--quick", action="store_true", help="the tiny model against onnx-asr, three cases, two minutes"
    )
    args = parser.read(sys.argv[1:] if argv is None else argv)
    if args.quick:
        args.against, args.max_seconds = "onnx-asr", min(args.max_seconds, 6.0)
    return args


def quick_cases(args: argparse.Namespace) -> list[Case]:
    """Return a short clip, eight of them at once, and a long clip."""
    recordings = recordings_of(args.files, args.references)
    return [*make_cases(recordings, [3], [1, 8]), *make_cases(recordings, [30], [1])]


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        if args.quick and not args.model:  # the bundled folder has no int8 files
            folder = Path(scratch) / parakeet_tiny.FOLDERS["onnx-asr"]
            args.model = [str(parakeet_tiny.write(folder, "onnx-asr"))]
        return run(args)


def run(args: argparse.Namespace) -> int:
    try:
        if args.report or args.soak is not None:
            return command.run(args)
        cases = quick_cases(args) if args.quick else cases_of(args)
        return run_sweep(args, cases, lambda model: peers_of(model, args), verdict)
    except OptionError as error:
        sys.stderr.write(f"tools/benchmark.py: {error}\n")
        return 2
    except TdtError as error:
        sys.stderr.write(f"tools/benchmark.py: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
