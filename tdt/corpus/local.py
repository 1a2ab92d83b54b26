"""Shards on this machine: worker processes, each with its model; one that dies costs nothing but its time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from tdt.corpus.work import Report, Settings, Worker
from tdt.errors import TdtError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from tdt.corpus.shards import Shard

# So often a shard is given to another worker.
ATTEMPTS = 3
_END_SECONDS = 5.0


@dataclass(slots=True)
class _Hand:
    """A worker process, and the shard that it has."""

    card: str | None
    process: BaseProcess
    line: Connection
    shard: Shard | None = None


def run_local(
    shards: Iterator[Shard], settings: Settings, workers: int, threads: int | None, cards: Sequence[str] = ()
) -> Iterator[Report]:
    """Yield the reports of shards, in the order in which they end.

    Parameters
    ----------
    shards : iterator of Shard
        Taken from as workers become free.
    settings : Settings
    workers : int
        Processes.
    threads : int, optional
        Inside each stage of each.
    cards : sequence of str
        The card of each worker by its number; none on the CPU.

    Raises
    ------
    TdtError
        What keeps a worker from loading the model; workers that die one after the other before any shard is done.
    """
    hands = [_start(settings, threads, cards[number % len(cards)] if cards else None) for number in range(workers)]
    again: deque[Shard] = deque()
    deaths: dict[int, int] = {}
    in_a_row = 0
    try:
        while True:
            for hand in hands:
                if hand.shard is None and (shard := again.popleft() if again else next(shards, None)) is not None:
                    _give(hand, shard)
            busy = [hand for hand in hands if hand.shard is not None]
            if not busy:
                return
            for hand in _ready(busy):
                shard = hand.shard
                assert shard is not None
                report = _report(hand)
                if report is not None:
                    in_a_row, hand.shard = 0, None
                    yield report
                    continue
                in_a_row += 1
                deaths[shard.number] = deaths.get(shard.number, 0) + 1
                died = WorkerDiedError(shard.number, deaths[shard.number], _how(hand))
                if in_a_row >= ATTEMPTS * len(hands) + 1:
                    raise died
                hands[hands.index(hand)] = _start(settings, threads, hand.card)
                if deaths[shard.number] < ATTEMPTS:
                    again.append(shard)
                else:
                    yield Report(shard.number, shard.pack.identity(), failure=died)
    finally:
        _end(hands)


def _start(settings: Settings, threads: int | None, card: str | None) -> _Hand:
    # Never by forking: threads of this process would be missing there.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, settings, threads, card), name="tdt-corpus", daemon=True)
    process.start()
    theirs.close()  # so that the line ends when the worker does
    return _Hand(card, process, ours)


def _give(hand: _Hand, shard: Shard) -> None:
    hand.shard = shard
    with suppress(OSError):  # it is dead, which is met when its report is awaited
        hand.line.send(shard)


def _ready(busy: list[_Hand]) -> list[_Hand]:
    """Wait until some workers have something to say, or are dead."""
    found = wait([thing for hand in busy for thing in (hand.line, hand.process.sentinel)])
    return [hand for hand in busy if hand.line in found or hand.process.sentinel in found]


def _report(hand: _Hand) -> Report | None:
    """Return a worker's report; None where it died."""
    try:
        if not hand.line.poll():
            return None
        told: Any = hand.line.recv()
    except (EOFError, OSError):
        return None
    if isinstance(told, BaseException):
        raise told
    report: Report = told
    return report


def _how(hand: _Hand) -> str:
    hand.process.join(_END_SECONDS)
    code = hand.process.exitcode
    return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"


def _end(hands: Sequence[_Hand]) -> None:
    for hand in hands:
        hand.line.close()
        hand.process.terminate()
    for hand in hands:
        hand.process.join(_END_SECONDS)
        if hand.process.is_alive():
            hand.process.kill()


def serve(line: Connection, settings: Settings, threads: int | None, card: str | None) -> None:
    """Do shards until the line ends; runs in the worker's process.

    Parameters
    ----------
    line : Connection
        Gives shards, takes reports; or the error that the model could not be loaded.
    settings : Settings
    threads : int, optional
    card : str, optional
        The one that this process sees.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's, which ends its workers
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    with suppress(EOFError, OSError):  # the driver is gone
        try:
            worker = Worker(settings, threads)
        except TdtError as error:
            line.send(error)
            return
        while True:
            line.send(worker(line.recv()))
