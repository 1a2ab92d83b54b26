"""What crosses a process boundary, and what says that it does not: pickling, copying, forking."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import os
import pickle
import pkgutil
import re
import subprocess
import sys
import textwrap
import threading
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt import errors
from tdt.encoding.features import FeatureExtractor
from tdt.lifetime import Lifetime, Origin, PerProcess, ProcessLock
from tdt.runtime.backend import Backend
from tdt.timeline import NULL, Span, Tally, Timeline

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDING = Path(tdt.__file__).parent / "models/recordings/15_hello_world.flac"
HELLO = "Hello world. Testing one, two, three."
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
WAYS: list[Callable[[Any], Any]] = [
    *(partial(lambda protocol, thing: pickle.loads(pickle.dumps(thing, protocol)), p) for p in (2, 4, 5)),
    copy.copy,
    copy.deepcopy,
]


def all_kinds() -> list[type[tdt.TdtError]]:
    """Return every error class of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(tdt.__path__, "tdt."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[type[tdt.TdtError], None] = {}
    waiting: list[type[tdt.TdtError]] = [tdt.TdtError]
    while waiting:
        kind = waiting.pop()
        if kind.__module__.startswith("tdt"):
            found[kind] = None
            waiting += kind.__subclasses__()
    return sorted(found, key=lambda kind: kind.__qualname__)


def example(kind: type[tdt.TdtError]) -> tdt.TdtError:
    """Return an instance made by the class's own constructor, arguments by what they are annotated as."""
    values: dict[str, Any] = {
        "str": "what", "int": 3, "float": 1.5, "bool": True, "object": "thing", "Path": Path("a/file"),
        "int | None": 3,
        "Sequence[str]": ["one", "two"], "list[int]": [3, 4], "Sequence[object]": ["fine", errors.AudioError("broken")],
    }  # fmt: skip
    if "__init__" not in {name for base in kind.__mro__ if issubclass(base, errors.TdtError) for name in vars(base)}:
        return kind("something went wrong")
    parameters = list(inspect.signature(kind).parameters.values())
    assert all(one.annotation in values for one in parameters), f"{kind.__name__}: teach this test its arguments"
    keywords = {one.name: values[one.annotation] for one in parameters if one.kind is one.KEYWORD_ONLY}
    return kind(*(values[one.annotation] for one in parameters if one.kind is not one.KEYWORD_ONLY), **keywords)


def assert_same(ours: Any, theirs: Any) -> None:
    """Compare deeply: arrays by value, errors by class, message and attributes."""
    assert type(ours) is type(theirs)
    if isinstance(ours, np.ndarray):
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(ours, BaseException):
        assert (str(ours), ours.args) == (str(theirs), theirs.args)
        assert_same(vars(ours), vars(theirs))
    elif isinstance(ours, Timeline):
        assert (ours.spans, ours.tallies, ours.audio_seconds) == (theirs.spans, theirs.tallies, theirs.audio_seconds)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert_same(ours[name], theirs[name])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif is_dataclass(ours):
        for one in fields(ours):
            assert_same(getattr(ours, one.name), getattr(theirs, one.name))
    else:
        assert ours == theirs


# --- errors -----------------------------------------------------------------------------------------------------------

KINDS = all_kinds()


def test_all_kinds_of_errors_were_found() -> None:
    assert len(KINDS) > 30
    assert {errors.AudioTailError, errors.OptionError, errors.ForkError} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_every_error_survives_the_way(kind: type[tdt.TdtError]) -> None:
    error = example(kind)
    error.add_note("while a test ran")
    for way in WAYS:
        assert_same(way(error), error)
    with pytest.raises(kind, match="^" + re.escape(str(error)[:10])):
        raise pickle.loads(pickle.dumps(error))


def test_attributes_of_the_standard_kin_go_with_an_error() -> None:
    absent = errors.AudioNotFoundError("nothing there")
    absent.errno, absent.filename, absent.strerror = 2, "talk.wav", "No such file"
    missing = errors.MissingDependencyError("cupy", "The device", "pip install cupy")
    missing.name = "cupy"
    for way in WAYS:
        assert (way(absent).errno, way(absent).filename, way(absent).strerror) == (2, "talk.wav", "No such file")
        assert way(missing).name == "cupy"
        assert str(way(absent)) == str(absent)


def test_a_tail_error_brings_what_was_recognised() -> None:
    error = errors.AudioTailError("talk.mp3", 61.5, "cut")
    error.partial = tdt.Transcript("so far", (), (), (), 61.5, Timeline())
    for way in WAYS:
        returned = way(error)
        assert (returned.seconds, returned.partial.text) == (61.5, "so far")


POOL = """
import multiprocessing, sys
from test_processes import KINDS, example

def fail(number):
    raise example(KINDS[number])

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for number, kind in enumerate(KINDS):
            try:
                pool.apply_async(fail, [number]).get(timeout=60)
            except kind as error:
                assert str(error) == str(example(kind))
            else:
                raise AssertionError(kind)
    print("all came back")
"""


@pytest.mark.slow
def test_errors_come_back_from_a_pool(tmp_path: Path) -> None:
    """An error that cannot be made anew ends the pool's own thread: `Pool.map` waits for ever."""
    (tmp_path / "pool.py").write_text(POOL)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(tmp_path / "pool.py")],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "all came back\n"), done.stderr


# --- values -----------------------------------------------------------------------------------------------------------


def test_results_and_settings_survive_the_way() -> None:
    with tdt.load() as asr:
        features = asr.features(RECORDING)
        encoded = asr.encode(features)
        hypotheses, states = asr.decode_piece(encoded)
        transcript = asr.transcribe(RECORDING, timeline=True)
        values = [features, encoded, hypotheses, states, transcript, transcript.timeline, asr.spec, asr.files]
    backend = Backend.parse("tensorrt:1,fp16,cache=/somewhere,max_seconds=20")
    for way in WAYS:
        for value in [*values, backend]:
            assert_same(way(value), value)
        assert way(NULL) is NULL
    assert transcript.timeline is not None
    assert transcript.timeline.spans


def test_a_copy_of_a_timeline_holds_what_had_ended() -> None:
    timeline = Timeline()
    with timeline.span("read"):
        pass
    timeline.tally("rule", 5, 2)
    with timeline.span("encoder"):
        returned = pickle.loads(pickle.dumps(timeline))
        shallow = copy.copy(timeline)
        assert returned.open_spans() == []
    assert [span.name for span in returned.spans] == ["read"]
    assert [span.name for span in shallow.spans] == ["read"]
    assert [span.name for span in timeline.spans] == ["read", "encoder"]
    assert isinstance(returned.spans[0], Span)
    assert isinstance(returned.tallies[0], Tally)
    with returned.span("text"):  # and it records on
        returned.tally("rule", 1)
    assert [span.name for span in returned.spans] == ["read", "text"]


def test_what_is_bound_to_its_process_says_so() -> None:
    with tdt.load() as asr:
        engine, encoder = asr._stages.engine, asr._stages.encoder
        bound = [asr, asr._stages, asr.long_form(), engine, encoder, encoder.session, FeatureExtractor(80)]
        for way in WAYS:
            for thing in bound:
                with pytest.raises(errors.NotPicklableError, match="load the model there"):
                    way(thing)
        with pytest.raises(errors.NotPicklableError, match="Recognizer"):  # as Pool.map(asr.transcribe, …) would
            pickle.dumps(asr.transcribe)


# --- forks ------------------------------------------------------------------------------------------------------------

# The children end as programs do, through the interpreter's finalisation; an alarm ends those that hang.
BEGINNING = f"""
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking while threads run: that is the point
import numpy as np
import soundfile
import tdt
RECORDING, HELLO = {str(RECORDING)!r}, {HELLO!r}
SAMPLES = soundfile.read(RECORDING, dtype="float32")[0]  # 16 kHz

def forked(work):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        work()
        sys.exit(0)
    return child

def check(child):
    status = os.waitpid(child, 0)[1]
    assert status == 0, status

def refused(call):
    try:
        call()
    except tdt.ForkError as error:
        assert "after the fork" in str(error), error
        assert str(os.getppid()) in str(error) and str(os.getpid()) in str(error), error
    else:
        raise AssertionError("not refused")
"""


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@FORKS
@pytest.mark.parametrize("options", ["", "threads=1", "decoder='onnx'"])
def test_a_model_loaded_before_a_fork_refuses_to_work_after_it(options: str) -> None:
    run(f"""
    asr = tdt.load({options})
    assert asr.transcribe(RECORDING).text == HELLO
    features = asr.features(RECORDING)
    encoded = asr.encode(features)
    long_form = asr.long_form()
    stream = asr.stream(RECORDING)

    def work():
        for call in (
            lambda: asr.transcribe(RECORDING), lambda: asr.transcribe([RECORDING] * 3), lambda: next(stream),
            lambda: list(asr.transcribe_each([RECORDING])), lambda: list(asr.stream(RECORDING)),
            lambda: asr.features(RECORDING), lambda: asr.encode(features), lambda: asr.decode(encoded),
            lambda: asr.decode_piece(encoded), asr.warmup, asr.placement, lambda: next(long_form.run([])),
            lambda: next(asr.long_form().run([])), lambda: asr._stages.engine.decode(encoded),
            lambda: asr._stages.encoder.encode(features),
        ):
            refused(call)
        asr.close()

    check(forked(work))
    assert asr.transcribe(RECORDING).text == HELLO  # the one that loaded it goes on
    """)


@FORKS
@pytest.mark.parametrize("end", ["pass", "del globals()['asr']", "asr.close()", "asr.__exit__(None, None, None)"])
def test_a_forked_process_ends_although_it_inherits_a_model(end: str) -> None:
    run(f"""
    asr = tdt.load()
    asr.transcribe(RECORDING)
    check(forked(lambda: exec({end!r}, globals())))
    assert asr.transcribe(RECORDING).text == HELLO
    """)


@FORKS
def test_a_forked_process_loads_a_model_of_its_own() -> None:
    """Also where the parent had used all that is shared: the speech detector, the compiled code, the runtime."""
    run("""
    long = np.tile(np.concatenate([SAMPLES, np.zeros(16000, np.float32)]), 20)
    def whole(asr):
        return asr.transcribe(long, chunk_seconds=20).text

    with tdt.load() as asr:
        expected = whole(asr)
        assert expected.count("one, two, three") == 20

        def work():
            with tdt.load() as own:
                assert own.transcribe(RECORDING).text == HELLO
                assert whole(own) == expected
        check(forked(work))
        for child in [forked(work) for _ in range(2)]:
            check(child)
    """)


@FORKS
def test_forks_while_another_thread_transcribes() -> None:
    run("""
    asr = tdt.load()
    assert asr.transcribe([RECORDING] * 2)[1].text == HELLO  # all is imported
    over = threading.Event()

    def busy():
        while not over.is_set():
            assert asr.transcribe([RECORDING] * 2)[1].text == HELLO
    threads = [threading.Thread(target=busy, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()

    def work():
        refused(lambda: asr.transcribe(RECORDING))
        with tdt.load() as own:
            assert own.transcribe(RECORDING).text == HELLO
    for _ in range(6):
        time.sleep(0.05)
        check(forked(work))
    over.set()
    for thread in threads:
        thread.join()
    """)


@FORKS
def test_a_stream_that_was_begun_before_a_fork_ends_in_an_error() -> None:
    run("""
    import gc
    long = np.tile(np.concatenate([SAMPLES, np.zeros(16000, np.float32)]), 60)
    asr = tdt.load()
    stream = asr.stream(long, chunk_seconds=15)
    first = next(stream)

    def go_on():
        refused(lambda: list(stream))

    def drop():
        del globals()["stream"]
        gc.collect()

    check(forked(go_on))
    check(forked(drop))
    check(forked(lambda: stream.close()))
    rest = list(stream)
    assert sum("one, two" in part.text for part in [first, *rest]) == 60
    """)


@FORKS
def test_a_fork_amid_an_import_is_told_and_does_not_hang() -> None:
    run("""
    import importlib
    asr = tdt.load()
    begun, go = threading.Event(), threading.Event()

    def load():
        with importlib._bootstrap._ModuleLockManager("tdt.audio.sndfile"):
            begun.set()
            go.wait()
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    begun.wait()

    def work():
        refused(tdt.load)
    check(forked(work))
    go.set()
    thread.join()
    assert asr.transcribe(RECORDING).text == HELLO
    """)


@FORKS
def test_a_fork_amid_a_load_is_told_and_does_not_hang() -> None:
    """The locks of what is imported and compiled stay closed in the child: nothing can be loaded there."""
    run("""
    from tdt import lifetime
    begun, go = threading.Event(), threading.Event()

    def load():
        with lifetime.setting_up():
            begun.set()
            go.wait()
    thread = threading.Thread(target=load)
    thread.start()
    begun.wait()

    def work():
        refused(tdt.load)
    child = forked(work)
    check(child)
    go.set()
    thread.join()
    with tdt.load() as asr:
        assert asr.transcribe(RECORDING).text == HELLO
    """)


@FORKS
@pytest.mark.parametrize("kind", ["compiler_lock.global_compiler_lock", "the first clip"])
def test_a_fork_amid_compiling_is_told_and_does_not_hang(kind: str) -> None:
    """Whoever compiles whatever: Numba's lock stays closed in the child, where the next call compiled too."""
    run(
        f"kind = {kind!r}\n"
        + textwrap.dedent("""
    from numba.core import compiler_lock, dispatcher
    asr = tdt.load()
    begun, go = threading.Event(), threading.Event()
    compile = dispatcher.Dispatcher.compile

    def slowly(self, signature):
        with compiler_lock.global_compiler_lock:
            begun.set()
            go.wait()
            return compile(self, signature)

    def first():
        if kind == "the first clip":
            dispatcher.Dispatcher.compile = slowly
            assert asr.transcribe(RECORDING).text == HELLO
            return
        with compiler_lock.global_compiler_lock:
            begun.set()
            go.wait()
    thread = threading.Thread(target=first, daemon=True)
    thread.start()
    begun.wait()

    def work():
        dispatcher.Dispatcher.compile = compile
        refused(tdt.load)
    check(forked(work))
    go.set()
    thread.join()
    assert asr.transcribe(RECORDING).text == HELLO
    """)
    )


def test_all_is_compiled_before_the_first_clip_is_heard() -> None:
    """Also for samples that cannot be written to, as those of files: what is compiled later is not told to a fork."""
    from tdt.encoding import FeatureExtractor
    from tdt.kernels.logmel import mel_cpu

    extractor = FeatureExtractor(80)
    extractor([np.zeros(1600, np.float32)])
    known = [len(function.signatures) for function in (mel_cpu._pad, mel_cpu._log_mel, mel_cpu._finish)]
    assert known == [1, 1, 1]
    locked = np.ones(1600, np.float32)
    locked.flags.writeable = False
    odd = np.frombuffer(bytes(1 + 4 * 1600), np.uint8)[1:].view(np.float32)
    assert not odd.flags.aligned
    for clip in (locked, odd, np.ones((1600, 2), np.float32)[:, 1], np.ones(1600)[::-1], np.ones(1600, np.float64)):
        extractor([clip])
    known = [len(function.signatures) for function in (mel_cpu._pad, mel_cpu._log_mel, mel_cpu._finish)]
    assert known == [1, 1, 1]


def test_a_call_that_the_collector_ends_amid_another_does_not_hang() -> None:
    released: list[int] = []
    lifetime = Lifetime(lambda: released.append(1))
    forgotten = lifetime.use()
    forgotten.__enter__()
    done = threading.Event()

    def collector() -> None:
        with lifetime._lock:  # as in the middle of any call or of close()
            forgotten.__exit__(None, None, None)
        lifetime.close()
        lifetime.close()
        done.set()

    threading.Thread(target=collector, daemon=True).start()
    assert done.wait(60)
    assert released == [1]


def _transcribe(path: str) -> str:
    with tdt.load(threads=1) as asr:
        return asr.transcribe(path).text


@FORKS
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_servers_that_fork_before_they_load_stay_fine() -> None:
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map_async(_transcribe, [str(RECORDING)] * 3).get(timeout=300) == [HELLO] * 3


@FORKS
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_what_modules_share_is_made_anew() -> None:
    made: list[int] = []
    shared = PerProcess(lambda: made.append(os.getpid()) or len(made))
    lock = ProcessLock()
    origin, lifetime = Origin(), Lifetime(lambda: made.append(-1))
    assert (shared(), shared(), made) == (1, 1, [os.getpid()])
    holding, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            holding.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with lock, pytest.raises(errors.ForkError), lifetime.use():
                pass
            lifetime.close()
            status = int(not (shared() == 2 and made == [os.getppid(), os.getpid()] and not origin.is_here()))
        finally:
            os._exit(status)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert made == [os.getpid()]
