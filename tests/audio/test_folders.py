"""Folders take every format that a file may have: the names go with the formats that are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tdt.audio import formats
from tdt.audio.folders import AUDIO_SUFFIXES, SHARED_SUFFIXES, audio_files, expand
from tdt.audio.formats import Format

# The usual endings of each format that is read.
ENDINGS = {
    "AAC": ["aac"], "AC-3": ["ac3"], "AIFF": ["aiff", "aif", "aifc"], "AMR": ["amr"], "ASF": ["wma", "wmv", "asf"],
    "AU": ["au", "snd"], "AVI": ["avi"], "CAF": ["caf"], "DSF": ["dsf"], "DTS": ["dts"], "E-AC-3": ["eac3"],
    "FLAC": ["flac"], "FLV": ["flv"], "MP3": ["mp3", "mp2"], "MP4": ["mp4", "m4a", "m4b", "mov", "3gp"],
    "MPEG program stream": ["mpg", "mpeg", "vob"], "MPEG transport stream": ["ts", "mts", "m2ts"], "MXF": ["mxf"],
    "Matroska": ["mkv", "mka", "webm"], "Monkey's Audio": ["ape"], "Musepack": ["mpc"], "NIST SPHERE": ["sph"],
    "NUT": ["nut"], "Ogg": ["ogg", "oga", "opus"], "OpenMG": ["oma"], "QCP": ["qcp"], "QOA": ["qoa"],
    "RealMedia": ["rm"], "Shorten": ["shn"], "TAK": ["tak"], "TTA": ["tta"], "VOC": ["voc"], "W64": ["w64"],
    "WAV": ["wav", "wave", "rf64"], "WavPack": ["wv"],
}  # fmt: skip


def known_formats() -> set[str]:
    """Return the names of all formats of the table, wherever it holds them."""
    found = set()
    for value in vars(formats).values():
        items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
        for item in items:
            found.update(part.name for part in (item if isinstance(item, tuple) else (item,)) if type(part) is Format)
    return found - {"unknown"}


def test_every_format_that_is_read_has_its_endings() -> None:
    assert set(ENDINGS) == known_formats()
    named = {f".{ending}" for endings in ENDINGS.values() for ending in endings}
    assert not named - AUDIO_SUFFIXES - SHARED_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES)


@pytest.mark.parametrize("ending", sorted({ending for endings in ENDINGS.values() for ending in endings} - {"ts"}))
def test_a_folder_takes_it_in_any_case_but_not_its_macos_shadow(ending: str, tmp_path: Path) -> None:
    for name in (f"a.{ending}", f"B.{ending.upper()}", f"._a.{ending}"):
        (tmp_path / name).touch()
    assert [path.name for path in audio_files(tmp_path)] == [f"B.{ending.upper()}", f"a.{ending}"]


def test_of_an_ending_that_others_have_the_first_bytes_tell(tmp_path: Path) -> None:
    packet = b"G" + bytes(187)
    (tmp_path / "film.ts").write_bytes(packet * 3)
    (tmp_path / "program.ts").write_text("export const Gain = 1;\n" * 40)
    (tmp_path / "empty.ts").touch()
    assert [path.name for path in audio_files(tmp_path)] == ["film.ts"]
    told: list[str] = []
    assert [Path(entry.file).name for entry in expand([str(tmp_path)], recursive=False, tell=told.append)] == [
        "film.ts"
    ]
    assert told == [f"{tmp_path}: left out 2 files that are no audio by their names (2 .ts)"]
