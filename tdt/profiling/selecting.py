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
    from tdt.spec import Precision


def our_entries(model: str | None, args: argparse.Namespace) -> list[Entry]:
    """Return an entry a provider and precision that the model folder has."""
    entries = []
    for precision in precisions_of(model, args.precision):
        for provider in args.provider or ["cpu"]:
            ours = Ours(model, provider, precision, args.decoder, known_of(args))
            entries.append(Entry(ours, "tdt", label_of(model), provider, precision))
    return entries


def known_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return phrases and the like that a command has read; nothing where it takes none."""
    return dict(getattr(args, "known", {}))


def with_base(
    entries: Sequence[Entry], model: str | None, baseline: str | None, known: dict[str, Any] | None = None
) -> list[Entry]:
    """Return the entries of a model and, where none of them is its float32 run on the CPU, that run for comparison.

    Parameters
    ----------
    entries : sequence of Entry
    model : str or None
        Their model.
    baseline : str or None
        Folder of the float32 files, where the model's own folder has none.
    known : dict, optional
        What that run knows beforehand: as the entries do, so that files and providers are compared and nothing else.
    """
    if any((entry.who, entry.provider, entry.precision) == ("tdt", "cpu", "float32") for entry in entries):
        return list(entries)
    source = baseline or model
    if find_model(source)[0].encoder_precision != "float32":
        say(f"{label_of(model)} has no float32 files: agreement is not measured. Name some: --baseline DIR")
        return list(entries)
    ours = Ours(source, "cpu", "float32", known=known or {})
    base = Entry(ours, "tdt", label_of(model), "cpu", "float32", measured=False)
    return [*entries, base]


def precisions_of(model: str | None, asked: Sequence[Precision]) -> list[Precision]:
    """Return those of the precisions asked for that the folder's encoder has.

    Raises
    ------
    OptionError
        The folder has none of them.
    """
    found = []
    for precision in dict.fromkeys(asked):
        try:
            files, _ = find_model(model, precision=precision)
        except ModelFileNotFoundError:
            say(f"{label_of(model)} has no {precision} files: left out")
            continue
        if files.encoder_precision == precision:
            found.append(precision)
    if not found:
        raise OptionError("precision", ",".join(asked), f"a precision that {label_of(model)} has")
    return found


def label_of(model: str | None) -> str:
    """Return what rows call the model."""
    return "parakeet-tdt-tiny" if model is None else Path(model).name or model


def cases_of(args: argparse.Namespace) -> list[Case]:
    """Return the cases that the options ask for, the audio read.

    Raises
    ------
    OptionError
        The references cannot be read.
    AudioError
        A file cannot be read.
    """
    return make_cases(recordings_of(args.files, args.references), args.length, args.batch)


def recordings_of(files: Sequence[str], references: str | None) -> list[Recording]:
    """Return the recordings to measure on: the files, or the bundled ones where there are none.

    Raises
    ------
    AudioError
        A file cannot be read.
    OptionError
        The references cannot be read, or are of other files.
    """
    said = read_references(Path(references)) if references is not None else {}
    bundled = sorted((Path(__file__).parents[1] / "models" / "recordings").glob("*.flac"))
    paths = [Path(name) for name in files] or bundled
    if references is not None and not any(reference_for(path, said) for path in paths):
        raise OptionError("references", references, f"lines of file name and text for clips such as {paths[0].name}")
    return [Recording(path.stem, load_audio(path).samples, reference_for(path, said)) for path in paths]
