"""A comparison as JSON, Markdown and a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tdt.quantization.agreement import tokens_equal
from tdt.quantization.comparison import token_edits
from tdt.quantization.scoring import Normalizer, error_rates, normalizer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tdt.quantization.comparison import VariantResult

WORST = 5


def report(
    results: Sequence[VariantResult],
    clips: Sequence[Path],
    seconds: float,
    references: Mapping[Path, str],
    normalize: Normalizer = "simple",
) -> dict[str, Any]:
    """Return the whole comparison as plain values.

    Parameters
    ----------
    results : sequence of VariantResult
        The first is what the others are held against.
    clips : sequence of Path
        The recordings, in the order they were run.
    seconds : float
        Their duration together.
    references : mapping of Path to str
        What was said, where known.
    normalize : str
        Name of the normaliser for error rates.
    """
    from tdt.profiling import environment_block

    rows = [_row(result, results[0], clips, seconds, references, normalize) for result in results]
    return {
        "clips": len(clips),
        "audio_seconds": round(seconds, 3),
        "references": len(references),
        "normalizer": normalize,
        "reference_variant": rows[0]["name"],
        "variants": rows,
        "environment": environment_block(),
    }


def _row(
    result: VariantResult,
    first: VariantResult,
    clips: Sequence[Path],
    seconds: float,
    references: Mapping[Path, str],
    normalize: Normalizer,
) -> dict[str, Any]:
    rates = None
    if references:
        clean = normalizer(normalize)
        pairs = zip(clips, result.texts, strict=True)
        known = [(clean(references[clip]), clean(text)) for clip, text in pairs if clip in references]
        rates = error_rates([left for left, _ in known], [right for _, right in known])
    edits = token_edits(first, result)
    order = sorted(range(len(clips)), key=lambda index: -edits[index])[:WORST]
    return {
        "name": result.variant.label,
        "model": result.variant.model,
        "provider": result.variant.provider,
        "quantization": result.quantization,
        "encoder_bytes": result.encoder_bytes,
        "decoder_bytes": result.decoder_bytes,
        "load_seconds": round(result.load_seconds, 3),
        "seconds": round(result.seconds, 4),
        "real_time_factor": round(seconds / result.seconds, 2) if result.seconds else None,
        "wer": None if rates is None else rates[0],
        "cer": None if rates is None else rates[1],
        "tokens_equal": tokens_equal(first.tokens, result.tokens),
        "clips_equal": sum(left == right for left, right in zip(first.tokens, result.tokens, strict=True)),
        "lengths": [
            {"seconds": row.seconds, "clips": row.clips, "cosine": row.cosine, "worst_cosine": row.worst_cosine,
             "error": row.error, "encoder_ms": round(row.encoder_ms, 2)}
            for row in result.lengths
        ],
        "worst": [
            {"file": clips[index].name, "token_edits": edits[index], "tokens": len(first.tokens[index]),
             "text": result.texts[index], "reference_text": first.texts[index]}
            for index in order
            if edits[index]
        ],
    }  # fmt: skip


def markdown(content: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown."""
    tables = [*_markdown_table(*_main_table(content)), "", *_markdown_table(*_length_table(content))]
    audio = f"{content['clips']} clips, {content['audio_seconds']:.1f} s."
    return "\n".join([*tables, *_worst(content), "", f"{audio} {_machine(content)}", ""])


def text(content: Mapping[str, Any]) -> str:
    """Return the comparison for a terminal."""
    tables = [_plain_table(*_main_table(content)), _plain_table(*_length_table(content))]
    return "\n\n".join(tables) + "\n" + "\n".join([*_worst(content), "", _machine(content), ""])


def _machine(content: Mapping[str, Any]) -> str:
    from tdt.profiling import describe

    return describe(content["environment"])


def _main_table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    head = ["variant", "encoder", "WER %", "CER %", "tokens equal %", "clips equal", "x real time", "MB", "load s"]
    rows = [
        [
            row["name"],
            row["quantization"],
            _percent(row["wer"]),
            _percent(row["cer"]),
            _percent(row["tokens_equal"]),
            f"{row['clips_equal']}/{content['clips']}",
            f"{row['real_time_factor']:.1f}" if row["real_time_factor"] else "-",
            f"{(row['encoder_bytes'] + row['decoder_bytes']) / 1e6:.1f}",
            f"{row['load_seconds']:.2f}",
        ]
        for row in content["variants"]
    ]
    return head, rows


def _length_table(content: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    head = ["variant", "clip s", "cosine", "worst frame", "error %", "encoder ms"]
    rows = [
        [
            row["name"],
            f"{length['seconds']:g}",
            f"{length['cosine']:.5f}",
            f"{length['worst_cosine']:.4f}",
            _percent(length["error"]),
            f"{length['encoder_ms']:.1f}",
        ]
        for row in content["variants"]
        for length in row["lengths"]
    ]
    return head, rows


def _worst(content: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for row in content["variants"]:
        if row["worst"]:
            lines += ["", f"{row['name']}: clips furthest from {content['reference_variant']}"]
        for item in row["worst"]:
            count = f"{item['token_edits']} of {item['tokens']} tokens"
            lines.append(f"- {item['file']}: {count}; {item['text']!r} for {item['reference_text']!r}")
    return lines


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    line = "|" + "|".join(" --- " if index == 0 else " ---: " for index in range(len(head))) + "|"
    return ["| " + " | ".join(head) + " |", line, *("| " + " | ".join(row) + " |" for row in rows)]


def _plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]
    lines = []
    for row in [head, *rows]:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]))
    return "\n".join(line.rstrip() for line in lines)
