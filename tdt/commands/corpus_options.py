"""The options that only `tdt corpus` has, for the table of :mod:`tdt.commands.options`."""

from __future__ import annotations

from tdt.commands.option import Option, flag, option
from tdt.commands.values import Number, Whole, path, seconds
from tdt.corpus import DETAILS, MOST_SHARD_ITEMS, SHARD_ITEMS

_CORPUS, _WORKERS, _SCORING, _PLANNING = "corpus", "workers", "score", "plan"

CORPUS: dict[str, Option] = {
    "corpora": option("inputs", _CORPUS, "manifests of NeMo, cuts of Lhotse, WebDataset tars, Parquet files, folders, "
                      "or patterns of them; or score with the folder of a run, or plan with manifests",
                      nargs="+", type=path, metavar="INPUT"),
    "run_folder": option("-o/--output", _CORPUS, "folder of the run", type=path, metavar="OUT"),
    "detail": option("--detail", _CORPUS, "what a line gains: pred_text; words, too; tokens, too", default="text",
                     choices=DETAILS),
    "root": option("--root", _CORPUS, "take no audio that a manifest names outside of this folder", type=path,
                   metavar="DIR"),
    "column": option("--column", _CORPUS, "the column with the audio in Parquet files",
                     shown="audio, audio_filepath, file or path", metavar="NAME"),
    "shard_items": option("--shard-items", _CORPUS, "items to a shard at most; a tar is one shard",
                          default=SHARD_ITEMS, type=Whole(1, MOST_SHARD_ITEMS), metavar="N"),
    "dry_run": flag("--dry-run", _CORPUS, "count shards, items and hours, and do nothing"),
    "ray": option("--ray", _WORKERS, "a Ray cluster: auto for the one that runs here, local for one of this machine "
                  "alone, or its address (needs the ray extra)", shown="this machine, without Ray", metavar="ADDRESS"),
    "workers": option("--workers", _WORKERS, "processes, each with a model of its own", shown="one a core, or a card",
                      type=Whole(1, 100_000), metavar="N"),
    "gpus_per_worker": option("--gpus-per-worker", _WORKERS, "cards of each; 0.5 lets two workers share one", shown="1",
                              type=Number(0.01, 64), metavar="G"),
    "reference_key": option("--references", _SCORING, "the key of the lines that says what was spoken", default="text",
                            metavar="KEY"),
    "by": option("--by", _SCORING, "rates for each value of this key, too", metavar="KEY"),
    "rtfx": option("--rtfx", _PLANNING, "seconds of sound that one worker does in a second: rtfx_worker in the "
                   "_summary.json of a run of the same kind", type=Number(0, 1e6, above=True), metavar="R"),
    "like": option("--like", _PLANNING, "the folder of a run, instead of --rtfx; may be repeated: what sound costs, "
                   "and what an item costs besides, is learned from their shards", action="append", type=path,
                   metavar="OUT"),
    "start_seconds": option("--start-seconds", _PLANNING, "until a worker has its model", default=5.0, shown="5",
                            type=seconds(0), metavar="S"),
}  # fmt: skip
