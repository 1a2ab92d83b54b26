"""What `tdt bench` measures: contenders and clips, told by its options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdt.audio import load_audio
from tdt.errors import ModelFileNotFoundError, OptionError
from tdt.model import find_model
from tdt.profiling.bench import Entry
from tdt.profiling.cases import Recording, make_cases, read_references, reference_for
from tdt.profiling.contenders import Ours
from tdt.profiling.output import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from tdt.profiling.cases import Case

DEFAULT_LENGTHS = "3,30"
PRECISIONS = ("float32", "int8")


def our_entries(model: str | None, args: argparse.Namespace) -> list[Entry]:
    """Return an entry a provider and precision that the model folder has."""
    entries = []
    for precision in precisions_of(model, args.precision):
        for provider in args.provider or ["cpu"]:
            ours = Ours(model, provider, precision, args.decoder)
            entries.append(Entry(ours, "tdt", label_of(model), provider, precision))
    return entries


def with_base(entries: Sequence[Entry], model: str | None, baseline: str | None) -> list[Entry]:
    """Return the entries of a model and, where none of them is its float32 run on the CPU, that run for comparison.

    Parameters
    ----------
    entries : sequence of Entry
    model : str or None
        Their model.
    baseline : str or None
        Folder of the float32 files, where the model's own folder has none.
    """
    if any((entry.who, entry.provider, entry.precision) == ("tdt", "cpu", "float32") for entry in entries):
        return list(entries)
    source = baseline or model
    if find_model(source)[0].encoder_precision != "float32":
        say(f"{label_of(model)} has no float32 files: agreement is not measured. Name some: --baseline DIR")
        return list(entries)
    base = Entry(Ours(source, "cpu", "float32"), "tdt", label_of(model), "cpu", "float32", measured=False)
    return [*entries, base]


def precisions_of(model: str | None, asked: str) -> list[Any]:
    """Return those of the precisions asked for that the folder's encoder has.

    Raises
    ------
    OptionError
        A precision is unknown, or the folder has none of them.
    """
    wanted = [word.strip() for word in asked.split(",") if word.strip()]
    unknown = [word for word in wanted if word not in PRECISIONS]
    if unknown or not wanted:
        raise OptionError("precision", asked, f"some of {', '.join(PRECISIONS)}, separated by commas")
    found = []
    for precision in wanted:
        try:
            files, _ = find_model(model, precision=precision)  # type: ignore[arg-type]
        except ModelFileNotFoundError:
            say(f"{label_of(model)} has no {precision} files: left out")
            continue
        if files.encoder_precision == precision:
            found.append(precision)
    if not found:
        raise OptionError("precision", asked, f"a precision that {label_of(model)} has")
    return found


def label_of(model: str | None) -> str:
    """Return what rows call the model."""
    return "parakeet-tdt-tiny" if model is None else Path(model).name or model


def cases_of(args: argparse.Namespace) -> list[Case]:
    """Return the cases that the options ask for, the audio read.

    Raises
    ------
    OptionError
        Lengths or batches are not numbers.
    AudioError
        A file cannot be read.
    """
    given = args.length or DEFAULT_LENGTHS
    lengths = [] if given == "as-is" else _numbers("length", given, float)
    batches = [int(batch) for batch in _numbers("batch", args.batch, int)]
    return make_cases(recordings_of(args.files, args.references), lengths, batches)


def _numbers(name: str, text: str, kind: type[int | float]) -> list[float]:
    try:
        return [kind(word) for word in text.split(",")]
    except ValueError as error:
        raise OptionError(name, text, "numbers separated by commas") from error


def recordings_of(files: Sequence[str], references: str | None) -> list[Recording]:
    """Return the recordings to measure on: the files, or the bundled ones where there are none.

    Raises
    ------
    AudioError
        A file cannot be read.
    """
    said = read_references(Path(references)) if references else {}
    bundled = sorted((Path(__file__).parents[1] / "models" / "recordings").glob("*.flac"))
    paths = [Path(name) for name in files] or bundled
    return [Recording(path.stem, load_audio(path).samples, reference_for(path, said)) for path in paths]
