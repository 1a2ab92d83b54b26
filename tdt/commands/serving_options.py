"""The options of the server: a part of the table in options.py, which holds all."""

from __future__ import annotations

from tdt.commands.option import Option, option
from tdt.commands.values import Number, Whole, path, seconds
from tdt.serving import Settings

_SERVING = "serving"
_SERVED = Settings()
_MOST_BATCH = 4096

SERVING: dict[str, Option] = {
    "host": option("--host", _SERVING, "address to listen on", default=_SERVED.host, metavar="ADDRESS"),
    "port": option("--port", _SERVING, "port to listen on; 0 takes a free one", default=_SERVED.port,
                   type=Whole(0, 65_535), metavar="N"),
    "wyoming": option("--wyoming", _SERVING, "port of the Wyoming protocol, Home Assistant's", type=Whole(0, 65_535),
                      shown="not spoken", metavar="PORT"),
    "api_key_file": option("--api-key-file", _SERVING, "file of keys, one a line: who sends none of them is refused",
                           shown="nobody is", type=path, metavar="FILE"),
    "shared_batch": option("--max-batch", _SERVING, "clips and windows that share a run at most",
                           default=_SERVED.max_batch, type=Whole(1, _MOST_BATCH), metavar="N"),
    "collect_ms": option("--collect-ms", _SERVING, "how long the first of a batch waits for company while the encoder "
                         "is busy", default=_SERVED.collect_ms, shown="5", type=Number(0, 10_000, "milliseconds"),
                         metavar="MS"),
    "queue": option("--queue", _SERVING, "requests under way at a time; more are told to come back",
                    default=_SERVED.queue, type=Whole(1, 100_000), metavar="N"),
    "max_mb": option("--max-mb", _SERVING, "largest upload, in millions of bytes", default=_SERVED.max_mb, shown="100",
                     type=Number(0.001, 100_000), metavar="MB"),
    "longest": option("--max-seconds", _SERVING, "longest recording", default=_SERVED.max_seconds, shown="14400",
                      type=seconds(1, 864_000), metavar="S"),
    "timeout": option("--timeout", _SERVING, "how long a request may take once it is read", default=_SERVED.timeout,
                      shown="14400", type=seconds(0.01, 864_000), metavar="S"),
    "upload_seconds": option("--upload-seconds", _SERVING, "how long its body may take to arrive",
                             default=_SERVED.upload_seconds, shown="600", type=seconds(0.01, 864_000), metavar="S"),
    "repository": option("repository", _SERVING, "folder of Triton's models; made where it is not there", type=path,
                         metavar="DIR"),
    "readers": option("--readers", _SERVING, "threads that decode audio and make features", default=_SERVED.readers,
                      type=Whole(1, 256), metavar="N"),
}  # fmt: skip
