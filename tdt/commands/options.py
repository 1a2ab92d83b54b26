"""The options of all subcommands in one table: what has one meaning has one name, one wording and one reader of values.

A subcommand takes its own by :func:`add` and may say which default, choices or number of values it has. Entries that
share a flag and stand apart here (`report`, `folder` and `model_folder` are all `--output`) mean different things.
Declare no option elsewhere: a test looks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from tdt.commands.corpus_options import CORPUS
from tdt.commands.option import Option
from tdt.commands.option import flag as _flag
from tdt.commands.option import option as _option
from tdt.commands.option import repeated as _repeated
from tdt.commands.values import (
    Listed,
    Number,
    Size,
    Whole,
    Words,
    confidence,
    names,
    path,
    picture,
    provider,
    provider_or_auto,
    seconds,
    targets,
    variant,
)
from tdt.fusion import MOST_HYPOTHESES
from tdt.loading import DECODERS, WEIGHTS
from tdt.serving import Settings
from tdt.spec import Precision

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

PRECISIONS: tuple[str, ...] = get_args(Precision)

BUNDLED = "the bundled parakeet-tdt-tiny"


_MODEL, _AUDIO, _LONG, _LIVE, _OUTPUT = "model", "audio", "long recordings", "live", "output"
_MEASURING, _QUANTISING, _ENGINE, _LANGUAGE = "measuring", "quantising", "engine", "language models"
_KNOWN = "what is known beforehand"
_CONVERTING, _SERVING = "converting", "serving"
_SERVED = Settings()
_PICTURE: dict[str, Any] = {"type": picture, "metavar": "FILE"}
_FILE: dict[str, Any] = {"type": path, "metavar": "FILE"}
_MOST_THREADS, _MOST_BATCH, _MOST_RUNS, _MOST_ORDER, _MOST_WEIGHT = 256, 4096, 1_000_000, 5, 1000

_model = _option("--model", _MODEL, "model folder, or a name such as parakeet-tdt-0.6b-v3", shown=BUNDLED,
                 type=path, metavar="MODEL")  # fmt: skip
_provider = _option("--provider", _MODEL, "execution provider: cpu, cuda:0, tensorrt:0,fp16, …", default="cpu",
                    type=provider, metavar="PROVIDER")  # fmt: skip
_precision = _option("--precision", _MODEL, "which model files to take", shown="float32 where they are there",
                     choices=PRECISIONS)  # fmt: skip

OPTIONS: dict[str, Option] = {
    # --- model ---
    "model": _model,
    "models": _repeated(_model),
    "model_argument": replace(_model, flags=("model",)),
    "inspected": replace(_model, flags=("model",), help=_model.help + "; or a sound file"),
    "variants": _option("variants", _MODEL, "models to compare, two or more: MODEL[@PROVIDER][#PRECISION]",
                        nargs="+", metavar="VARIANT", type=variant),
    "provider": _provider,
    "provider_or_auto": replace(_provider, help=_provider.help + "; or auto",
                                settings={**_provider.settings, "type": provider_or_auto}),
    "providers": _repeated(_provider),
    "card": replace(_provider, help="build with the classic TensorRT provider on this machine's card: tensorrt:0,int8",
                    default=None),
    "precision": _precision,
    "precisions": _option("--precision", _MODEL, "which model files to take, several with commas between; those that a "
                          "model lacks are left out", default=PRECISIONS, shown=",".join(PRECISIONS),
                          type=Listed(Words(PRECISIONS)), metavar="PRECISION,…"),
    "decoder": _option("--decoder", _MODEL, "decoding engine", default="auto", shown="auto: native where it can",
                       choices=DECODERS),
    "weights": _option("--weights", _MODEL, "weights of the decoder: float16 on cards, int8 on CPUs", default="auto",
                       shown="auto: float32, or as the model's", choices=WEIGHTS),
    "durations": _option("--durations", _MODEL, "duration table in encoder frames, where the model does not say it",
                         type=Listed(Whole(0, 10_000)), metavar="N,…"),
    "threads": _option("--threads", _MODEL, "threads inside each stage", shown="all cores",
                       type=Whole(1, _MOST_THREADS), metavar="N"),
    "baseline": _option("--baseline", _MODEL, "folder of the float32 files to hold results against, where the model "
                        "has none", type=path, metavar="MODEL"),
    # --- audio ---
    "inputs": _option("files", _AUDIO, "audio files, or folders of them; - reads audio from standard input",
                      nargs="+", type=path, metavar="FILE"),
    "files": _option("files", _AUDIO, "audio files", nargs="+", type=path, metavar="FILE"),
    "audio": _option("--audio", _AUDIO, "recordings, or folders of them", nargs="+", required=True, type=path,
                     metavar="PATH"),
    "recursive": _flag("--recursive", _AUDIO, "search the folders in folders, too"),
    "channel": _option("--channel", _AUDIO, "take this channel, from 0", shown="the mean of all",
                       type=Whole(0, 1023), metavar="N"),
    "track": _option("--track", _AUDIO, "take this audio track, from 0; `tdt inspect FILE` lists them",
                     shown="the one marked as default", type=Whole(0, 1023), metavar="N"),
    "batch_size": _option("--batch-size", _AUDIO, "files to a batch", shown="chosen by length, up to 8, on a card 32",
                          type=Whole(1, _MOST_BATCH), metavar="N"),
    "references": _option("--references", _AUDIO, "what is said: lines of file name, tab and text, UTF-8; for word "
                          "error rates", **_FILE),
    "chunk_seconds": _option("--chunk-seconds", _LONG, "longest window; shorter audio is not cut", shown="60",
                             type=seconds(2), metavar="S"),
    "context_seconds": _option("--context-seconds", _LONG, "heard beyond a cut through speech", shown="2",
                               type=seconds(0), metavar="S"),
    "max_memory": _option("--max-memory", _LONG, "for the encoder's activations, such as 500M or 4G",
                          shown="half of what is free", type=Size(), metavar="SIZE"),
    "no_second_look": _flag("--no-second-look", _AUDIO, "leave speech that holds no word as it is: by default it is "
                            "decoded again, with other cuts, and told where it stays empty"),
    "jobs": _option("--jobs", _LONG, "long recordings that share batches", default=1, type=Whole(1, 256), metavar="N"),
    # --- what is known beforehand ---
    "phrases": _option("--phrases", _KNOWN, "file of phrases to listen for, one a line, perhaps a tab and a weight; "
                       "may be repeated", action="append", **_FILE),
    "phrase": _option("--phrase", _KNOWN, "a phrase to listen for; may be repeated", action="append", metavar="TEXT"),
    "phrase_weight": _option("--phrase-weight", _KNOWN, "how much phrases count; below 0 they are avoided", default=1.0,
                             shown="1", type=Number(-_MOST_WEIGHT, _MOST_WEIGHT), metavar="W"),
    "lm": _option("--lm", _KNOWN, "n-gram language model over the model's pieces (`tdt lm build`): .arpa or .arpa.gz",
                  **_FILE),
    "lm_weight": _option("--lm-weight", _KNOWN, "how much the language model counts", shown="0.3",
                         type=Number(-_MOST_WEIGHT, _MOST_WEIGHT), metavar="W"),
    "beam": _option("--beam", _KNOWN, "search with so many hypotheses", shown="greedy",
                    type=Whole(1, MOST_HYPOTHESES), metavar="N"),
    "nbest": _option("--nbest", _KNOWN, "with --beam and --format json: give the best N hypotheses of each file",
                     type=Whole(1, MOST_HYPOTHESES), metavar="N"),
    "script": _option("--script", _KNOWN, "keep to a script, such as latin; several with commas between",
                      type=names, metavar="NAME,…"),
    # --- live ---
    "heard": _option("source", _AUDIO, "an audio file, - for standard input, or mic:DEVICE", nargs="?",
                     shown="the microphone", type=path, metavar="FILE"),
    "pace": _flag("--pace", _LIVE, "give the file at the pace of speech"),
    "devices": _flag("--devices", _LIVE, "list the microphones and end"),
    "latency": _option("--latency", _LIVE, "seconds of latency by design, with what goes with them", shown="4",
                       type=Whole(1, 4), choices=(4, 2, 1)),
    "left": _option("--left", _LIVE, "seconds heard before what is decoded", shown="10", type=seconds(0, 3600),
                    metavar="S"),
    "chunk": _option("--chunk", _LIVE, "seconds decoded in a step", shown="by the latency",
                     type=seconds(0.01, 3600), metavar="S"),
    "right": _option("--right", _LIVE, "seconds heard after what is decoded", shown="by the latency",
                     type=seconds(0, 3600), metavar="S"),
    "end_of_speech": _option("--end-of-speech", _LIVE, "silence that closes an utterance, or off", shown="0.8",
                             type=Words(("off",), seconds(0.2, 3600)), metavar="S"),
    "restart": _option("--restart", _LIVE, "silence after which decoding starts afresh, or off", shown="2",
                       type=Words(("off",), seconds(0.2, 3600)), metavar="S"),
    # --- output ---
    "format": _option("--format", _OUTPUT, "form of the result"),
    "confidence": _option("--confidence", _OUTPUT, "measure of the confidences: entropy or max_prob; perhaps with "
                          "commas min, mean, max or prod, and what counts beside tokens: blanks, durations",
                          default="entropy", type=confidence, metavar="MEASURE,…"),
    "folder": _option("-o/--output", _OUTPUT, "write a file for each input into this folder instead of printing",
                      type=path, metavar="DIR"),
    "report": _option("-o/--output", _OUTPUT, "where the result goes", shown="standard output", **_FILE),
    "model_folder": _option("-o/--output", _OUTPUT, "folder for the model that is made", type=path, metavar="OUT"),
    "arpa": _option("-o/--output", _OUTPUT, "the language model that is made; compressed if it ends in .gz", **_FILE),
    "overwrite": _flag("--overwrite", _OUTPUT, "write into OUT though it holds something"),
    "resume": _flag("--resume", _OUTPUT, "with -o: go on where a run was stopped; what is done is skipped"),
    "skip_existing": _flag("--skip-existing", _OUTPUT, "with -o: skip inputs whose output file is there"),
    "json": _flag("--json", _OUTPUT, "print one JSON object"),
    "json_file": _option("--json", _OUTPUT, "write everything as JSON (-: to standard output)", **_FILE),
    "markdown": _option("--markdown", _OUTPUT, "write the tables as Markdown", **_FILE),
    "plot": _option("--plot", _OUTPUT, "also draw the result (.png, .svg or .pdf; needs the plot extra)", **_PICTURE),
    "picture": _option("--picture", _OUTPUT, "also draw the result (.png, .svg or .pdf; needs the plot extra)",
                       **_PICTURE),
    "plots": _option("--plot", _OUTPUT, "folder for drawings of speed by batch and length and of accuracy by latency "
                     "(needs the plot extra)", type=path, metavar="DIR"),
    "strict": _flag("--strict", _OUTPUT, "exit status 1 where speech stays without words"),
    "quiet": _flag("-q/--quiet", _OUTPUT, "no progress and no warnings; errors are still told"),
    # --- measuring ---
    "runs": _option("--runs", _MEASURING, "how often each measurement is made", type=Whole(1, _MOST_RUNS),
                    metavar="N"),
    "batches": _option("--batch", _MEASURING, "clips at a time, several with commas between", default=(1,), shown="1",
                       type=Listed(Whole(1, _MOST_BATCH)), metavar="N,…"),
    "length": _option("--length", _MEASURING, "join the files to clips of about so many seconds; as-is takes the files "
                      "as they are", default=(3.0, 30.0), shown="3,30", type=Listed(seconds(0.1, 3600), "as-is"),
                      metavar="S,…"),
    "lengths": _option("--lengths", _MEASURING, "seconds of joined audio to compare encoders on",
                       default=(10.0, 20.0, 40.0), shown="10,20,40", type=Listed(seconds(0.1, 3600)), metavar="S,…"),
    "min_runs": _option("--min-runs", _MEASURING, "at least so many runs a row", default=10,
                        type=Whole(1, _MOST_RUNS), metavar="N"),
    "min_seconds": _option("--min-seconds", _MEASURING, "and at least so many seconds", default=3.0, shown="3",
                           type=seconds(0), metavar="S"),
    "max_seconds": _option("--max-seconds", _MEASURING, "but no further run after so many", default=60.0, shown="60",
                           type=seconds(0.01), metavar="S"),
    "summary": _flag("--report", _MEASURING, "which model file on which provider, with the reasons"),
    "soak": _option("--soak", _MEASURING, "does memory grow over so many clips (1000 where no number is given)",
                    nargs="?", const=1000, type=Whole(10, _MOST_RUNS), metavar="CLIPS"),
    "normalizer": _option("--normalizer", _MEASURING, "what texts go through before errors are counted",
                          default="simple"),
    "nodes": _flag("--nodes", _MEASURING, "add ONNX Runtime's dearest nodes, from a run of its own"),
    "memory": _flag("--memory", _MEASURING, "add peak memory by stage, from a run of its own"),
    "live": _option("--live", _MEASURING, "as live recognition with so many seconds of latency (4 where no number is "
                    "given), chunk by chunk", nargs="?", const=4, type=Whole(1, 4), choices=(4, 2, 1)),
    "placement": _flag("--placement", _MEASURING, "start the graphs and show which provider runs what"),
    # --- quantising ---
    "numbers": _option("--precision", _QUANTISING, "what the encoder is written in", default="int8"),
    "include": _option("--include", _QUANTISING, "parts (feed_forward, attention, pointwise, position, subsampling) or "
                       "patterns of layer names", default=(), shown="the first three", nargs="+", metavar="WHAT"),
    "exclude": _option("--exclude", _QUANTISING, "parts or patterns to leave in float", default=(), shown="none",
                       nargs="+", metavar="WHAT"),
    "body": _option("--body", _QUANTISING, "type of all the rest", default="float32"),
    "decoder_weights": _option("--decoder-weights", _QUANTISING, "weights of prediction network and joint",
                               default="float"),
    "method": _option("--method", _QUANTISING, "how the ranges of activations are chosen", default="minmax"),
    "percentile": _option("--percentile", _QUANTISING, "for the method of that name", default=99.999,
                          type=Number(50, 100, "percent", above=True), metavar="PERCENT"),
    "smoothquant": _option("--smoothquant", _QUANTISING, "auto: layer norms with outliers; search: the best strength "
                           "for each; off; or one strength between 0 and 1", default="search",
                           type=Words(("auto", "search", "off"), Number(0.001, 0.999)), metavar="WHEN"),
    "no_narrow": _flag("--no-narrow", _QUANTISING, "8 bits even where a CPU without VNNI saturates"),
    "no_centre": _flag("--no-centre", _QUANTISING, "grids around 0 even for tensors that are one-sided"),
    "calibration_seconds": _option("--max-seconds", _QUANTISING, "audio to calibrate on at most", default=600.0,
                                   shown="600", type=seconds(60), metavar="S"),
    "sensitivity": _option("--sensitivity", _QUANTISING, "rank groups of layers by the damage each does alone "
                           "(by layer-part where no grouping is given)", nargs="?", const="layer-part"),
    "sensitivity_seconds": _option("--sensitivity-seconds", _QUANTISING, "audio to rank on", default=30.0, shown="30",
                                   type=seconds(1), metavar="S"),
    "budget": _option("--budget", _QUANTISING, "keep the encoder's relative error below this, such as 0.03",
                      type=Number(0, 1, above=True), metavar="ERROR"),
    # --- converting ---
    "converted": _option("checkpoint", _CONVERTING, "a .nemo file, a model.safetensors or a folder with one; or "
                         "a model whose layout shall change", type=path, metavar="SOURCE"),
    "graph": _option("--graph", _CONVERTING, "model whose graphs take the weights: a folder or a name",
                     shown="the published one of the same architecture", type=path, metavar="MODEL"),
    "layout": _option("--layout", _CONVERTING, "how the files are laid out", shown="as the graphs' model has them"),
    # --- language models ---
    "lm_action": _option("action", _LANGUAGE, "build a language model from texts, inspect models, or score texts by a "
                         "model"),
    "lm_files": _option("files", _LANGUAGE, "build: texts, a sentence a line; inspect: language models; score: one, "
                        "then texts", nargs="+", type=path, metavar="FILE"),
    "order": _option("--order", _LANGUAGE, "length of the longest n-grams", default=3, type=Whole(1, _MOST_ORDER),
                     metavar="N"),
    "prune": _option("--prune", _LANGUAGE, "leave out n-grams that occur so often or less, by order from 1 on; the "
                     "first is 0, the last counts for all further orders", default=(0,), shown="0",
                     type=Listed(Whole(0, 1_000_000_000)), metavar="N,…"),
    "estimator": _option("--estimator", _LANGUAGE, "what estimates probabilities: KenLM's lmplz, or this package's own "
                         "modified Kneser-Ney", default="auto", shown="auto: lmplz where it is installed"),
    # --- serving ---
    "host": _option("--host", _SERVING, "address to listen on", default=_SERVED.host, metavar="ADDRESS"),
    "port": _option("--port", _SERVING, "port to listen on; 0 takes a free one", default=_SERVED.port,
                    type=Whole(0, 65_535), metavar="N"),
    "wyoming": _option("--wyoming", _SERVING, "port of the Wyoming protocol, Home Assistant's", type=Whole(0, 65_535),
                       shown="not spoken", metavar="PORT"),
    "api_key_file": _option("--api-key-file", _SERVING, "file of keys, one a line: who sends none of them is refused",
                            shown="nobody is", **_FILE),
    "shared_batch": _option("--max-batch", _SERVING, "clips and windows that share a run at most",
                            default=_SERVED.max_batch, type=Whole(1, _MOST_BATCH), metavar="N"),
    "collect_ms": _option("--collect-ms", _SERVING, "how long the first of a batch waits for company while the encoder "
                          "is busy", default=_SERVED.collect_ms, shown="5", type=Number(0, 10_000, "milliseconds"),
                          metavar="MS"),
    "queue": _option("--queue", _SERVING, "requests under way at a time; more are told to come back",
                     default=_SERVED.queue, type=Whole(1, 100_000), metavar="N"),
    "max_mb": _option("--max-mb", _SERVING, "largest upload, in millions of bytes", default=_SERVED.max_mb, shown="100",
                      type=Number(0.001, 100_000), metavar="MB"),
    "longest": _option("--max-seconds", _SERVING, "longest recording", default=_SERVED.max_seconds, shown="14400",
                       type=seconds(1, 864_000), metavar="S"),
    "timeout": _option("--timeout", _SERVING, "how long a request may take once it is read", default=_SERVED.timeout,
                       shown="14400", type=seconds(0.01, 864_000), metavar="S"),
    "upload_seconds": _option("--upload-seconds", _SERVING, "how long its body may take to arrive",
                              default=_SERVED.upload_seconds, shown="600", type=seconds(0.01, 864_000), metavar="S"),
    "repository": _option("repository", _SERVING, "folder of Triton's models; made where it is not there", type=path,
                          metavar="DIR"),
    "readers": _option("--readers", _SERVING, "threads that decode audio and make features", default=_SERVED.readers,
                       type=Whole(1, 256), metavar="N"),
    # --- engine ---
    "target": _option("--target", _ENGINE, "cards, several with commas between", default="sm_89,sm_120",
                      type=targets, metavar="SM,…"),
    "min_int8": _option("--min-int8", _ENGINE, "fail with fewer int8 linear layers than this",
                        type=Whole(0, 1_000_000), metavar="N"),
    "max_batch": _option("--max-batch", _ENGINE, "largest batch", default=8, type=Whole(1, _MOST_BATCH), metavar="N"),
    "opt_seconds": _option("--opt-seconds", _ENGINE, "usual clip, tuned for", default=10.0, shown="10",
                           type=seconds(0.2, 3600), metavar="S"),
    "engine_seconds": _option("--max-seconds", _ENGINE, "longest clip", default=40.0, shown="40",
                              type=seconds(0.2, 3600), metavar="S"),
    **CORPUS,
}  # fmt: skip


# What is known beforehand: as a stream takes it; with the hypotheses of whole recordings; and with those told.
KNOWN = ("phrases", "phrase", "phrase_weight", "lm", "lm_weight", "script")
SEARCHED = (*KNOWN, "beam")
FUSION = (*SEARCHED, "nbest")


def add(parser: argparse.ArgumentParser, *names: str, **special: Mapping[str, Any]) -> None:
    """Give a parser options of the table, each below its heading.

    Parameters
    ----------
    parser : ArgumentParser
    names : str
        Of the table.
    special : mapping
        By name, what is this subcommand's own: `default`, `shown`, `choices`, `nargs` or `required`.
    """
    headings: dict[str, Any] = {}
    for name in names:
        option, own = OPTIONS[name], dict(special.get(name, {}))
        option = replace(option, **{key: own.pop(key) for key in ("default", "shown") if key in own})
        settings: dict[str, Any] = {**option.settings, **own, "help": option.text.replace("%", "%%")}
        if not option.flags[0].startswith("-"):
            parser.add_argument(*option.flags, **settings)
            continue
        if settings.get("action") != "store_true":
            settings["default"] = option.default
        if option.group not in headings:
            headings[option.group] = parser.add_argument_group(option.group)
        headings[option.group].add_argument(*option.flags, **settings)
