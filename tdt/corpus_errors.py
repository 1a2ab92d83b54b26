"""What goes wrong with a corpus as a whole: its lists of recordings, the folder of a run, its workers."""

from __future__ import annotations

from tdt.error_root import TdtError


class ManifestError(TdtError, ValueError):
    """A list of recordings, or a line of one, is none.

    Attributes
    ----------
    line : int
        Line of the file, or number of the sample, from 1; 0 where it is about the whole.
    """

    def __init__(self, path: str, problem: str, line: int = 0) -> None:
        self.line = line
        super().__init__(
            f"{path}{f', line {line}' if line else ''}: {problem}. Expected a manifest of NeMo or cuts of Lhotse (a "
            "JSON object a line), a WebDataset tar, a Parquet file with an audio column, or a folder of recordings."
        )


class OutsideRootError(TdtError, PermissionError):
    """A manifest names a file outside of the folder that it is confined to."""

    def __init__(self, path: str, root: str) -> None:
        super().__init__(
            f"{path} lies outside of {root}, to which --root confines the audio. Name another root, or leave the "
            "line out."
        )


class RunFolderError(TdtError, ValueError):
    """The folder of a run is of another run, of another input, or in use."""

    def __init__(self, folder: str, problem: str) -> None:
        super().__init__(f"{folder} cannot take this run: {problem}.")


class WorkerDiedError(TdtError, RuntimeError):
    """A worker process ended while it had work, several times over the same shard."""

    def __init__(self, shard: int, times: int, how: str) -> None:
        super().__init__(
            f"The worker of shard {shard} died {times} times ({how}); it was expected to hand its results back. Out of "
            "memory: fewer --workers, or a smaller --max-memory. What is done stays: --resume goes on."
        )


class ShardError(TdtError, RuntimeError):
    """Shards could not be done as a whole; none of their lines was written, and the others are done.

    Attributes
    ----------
    shards : list of int
        Their numbers.
    """

    def __init__(self, shards: list[int], first: str) -> None:
        self.shards = list(shards)
        super().__init__(
            f"{len(shards)} shards could not be done, the first, number {shards[0]}: {first} What is done stays: "
            "--resume does these again."
        )


class StorageGoneError(TdtError, OSError):
    """No file of a shard is there: the storage is gone, rather than its files."""

    def __init__(self, items: int, first: str) -> None:
        super().__init__(
            f"All {items} recordings are missing, which is taken for storage that is gone, not for lines to be "
            f"written. The first: {first}"
        )


class ClusterError(TdtError, RuntimeError):
    """Ray ended the work: the cluster is gone, or a worker fails there each time."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"Ray ended the work ({problem}). What is done stays: look at Ray's dashboard or logs, then --resume "
            "goes on."
        )
