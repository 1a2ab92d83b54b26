"""One stream for copies, encoder and decoder, waited for once a stage: over the do-nothing runtime, which counts both.

Real: the streams that ONNX Runtime's CUDA provider launches and copies on, the driver calls, what is waited for and how
often. Not real: that the device keeps the order (it has none here), and time.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tdt
from tdt.decoding.device_engine import DeviceEngine
from tdt.encoding.device_encoder import DeviceEncoder
from tdt.errors import DecodingError, OptionError, ProviderError
from tdt.model.finding import find_model
from tdt.runtime import session
from tdt.runtime.backend import Backend
from tdt.runtime.device import adopt
from tdt.runtime.device_queue import CudaStream, open_queue, open_queues
from tdt.runtime.provider_options import CUDA as CUDA_PROVIDER
from tdt.runtime.work_queue import HostQueue
from tdt.stages import Encoded, Features
from tdt.surgery import encoder_graph
from tdt.timeline import Timeline

from .fake_runtime import Enqueued, Spent, driver, held

if TYPE_CHECKING:
    from collections.abc import Iterator

CUDA = Backend.parse("cuda:0")
THEIRS = 0x7700  # a stream that the caller has made


@pytest.fixture
def queue() -> CudaStream:
    made = open_queue(CUDA)
    assert isinstance(made, CudaStream)
    return made


@pytest.fixture
def encoder(queue: CudaStream) -> Iterator[DeviceEncoder]:
    encoder = DeviceEncoder(*find_model(None), CUDA, queue=queue)
    encoder.batching()
    encoder._batching = "together"  # the probe compares numbers, which mean nothing here
    yield encoder
    encoder.close()


@pytest.fixture
def engine(queue: CudaStream) -> Iterator[DeviceEngine]:
    engine = DeviceEngine(*find_model(None), CUDA, queue=queue)
    yield engine
    engine.close()


def features(lengths: list[int]) -> Features:
    return Features(np.zeros((len(lengths), 128, max(lengths)), np.float32), np.array(lengths))


def waits_of_the_graph(encoder: DeviceEncoder) -> int:
    """Waits for events that the graph itself makes, for shapes that its CPU nodes work out: the same each run."""
    binding = next(reversed(encoder._buffers.values())).bindings[0]
    binding.run()
    enqueued = Enqueued(encoder.queue.pointer)
    binding.run(wait=False)
    assert enqueued().waits == 0
    return enqueued().waits_elsewhere


def rounds_of(engine: DeviceEngine, encoded: Encoded) -> int:
    """Decode, and return how many rounds it took; the numbers mean nothing and may read as no logits at all."""
    rounds: list[int] = []
    original = engine._rounds

    def counted(*arguments: Any) -> Any:
        made = original(*arguments)
        rounds.append(len(made))
        return made

    engine._rounds = counted  # type: ignore[method-assign]
    try:
        engine.decode(encoded)
    except DecodingError:
        pass
    finally:
        engine._rounds = original  # type: ignore[method-assign]
    return sum(rounds)


@pytest.fixture
def no_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the waits that are made now and then, whatever a stage does."""
    monkeypatch.setattr(session, "_MOST_UNWAITED", 1 << 60)


@pytest.mark.usefixtures("no_clean_up")
@pytest.mark.parametrize(("frames", "projected"), [("none", "host"), ("host", "host"), ("device", "device")])
def test_the_encoder_waits_for_run_and_copies_on_one_stream(
    encoder: DeviceEncoder, frames: Any, projected: Any
) -> None:
    for _ in range(2):
        encoder.encode(features([300, 200]), frames="none")
    inside = waits_of_the_graph(encoder)
    enqueued = Enqueued(encoder.queue.pointer)
    encoder.encode(features([300, 200]), frames=frames, projected=projected)
    seen = enqueued()
    assert seen.enqueued > 300
    assert seen.enqueued_elsewhere == 0
    assert (seen.waits, seen.waits_elsewhere) == (2, inside)


@pytest.mark.usefixtures("no_clean_up")
def test_the_decoder_waits_for_each_round_on_the_encoders_stream(encoder: DeviceEncoder, engine: DeviceEngine) -> None:
    encoded = encoder.encode(features([300, 200]), frames="none", projected="device")
    rounds_of(engine, encoded)
    enqueued = Enqueued(engine.queue.pointer)
    rounds = rounds_of(engine, encoded)
    seen = enqueued()
    assert rounds >= 1
    assert seen.enqueued > 100
    assert seen.enqueued_elsewhere == 0
    assert (seen.waits, seen.waits_elsewhere) == (2 * rounds + 1, 0)  # its last step, its records; the states


@pytest.mark.usefixtures("no_clean_up")
def test_frames_from_the_host_are_projected_on_the_same_stream(engine: DeviceEngine) -> None:
    encoded = Encoded(np.zeros((2, 38, 144), np.float32), np.array([38, 25]))
    rounds_of(engine, encoded)
    enqueued = Enqueued(engine.queue.pointer)
    rounds = rounds_of(engine, encoded)
    seen = enqueued()
    assert seen.enqueued > 100
    assert (seen.enqueued_elsewhere, seen.waits, seen.waits_elsewhere) == (0, 2 * rounds + 2, 0)


@pytest.mark.parametrize("given", [None, THEIRS])
@pytest.mark.parametrize("decoder", ["native", "onnx"])
def test_a_recogniser_shares_one_stream(given: int | None, decoder: Any) -> None:
    samples = [np.zeros(24_000, np.float32), np.zeros(20_000, np.float32)]
    with tdt.load(provider="cuda:0", decoder=decoder, stream=given) as asr:
        queue = asr._stages.encoder.queue  # type: ignore[attr-defined]
        assert given is None or queue.pointer == given
        sessions = [asr._stages.encoder.session]  # type: ignore[attr-defined]
        if decoder == "onnx":
            assert asr._stages.engine.queue is queue  # type: ignore[attr-defined]
            sessions += [asr._stages.engine._step, asr._stages.engine._projector]  # type: ignore[attr-defined]
        for made in sessions:
            effective = made._session.get_provider_options()[CUDA_PROVIDER]
            assert (effective["has_user_compute_stream"], effective["user_compute_stream"]) == ("1", str(queue.pointer))
        asr.transcribe(samples, errors="return")
        enqueued = Enqueued(queue.pointer)
        asr.transcribe(samples, errors="return")
        seen = enqueued()
    assert seen.enqueued > 300
    assert seen.enqueued_elsewhere == 0
    assert seen.waits >= 1


def test_two_recognisers_have_streams_of_their_own() -> None:
    with tdt.load(provider="cuda:0") as one, tdt.load(provider="cuda:0") as other:
        first, second = (asr._stages.encoder.queue.pointer for asr in (one, other))  # type: ignore[attr-defined]
        assert first != second


def test_streams_events_and_contexts_are_given_back() -> None:
    gc.collect()
    before = held()
    asr = tdt.load(provider="cuda:0", decoder="onnx")
    assert held().streams == before.streams + 1
    asr.transcribe([np.zeros(24_000, np.float32)], errors="return", timeline=Timeline())
    assert held().events == before.events
    asr.close()
    del asr
    gc.collect()
    assert held() == before
    assert before.contexts == 0


def test_a_projection_behind_the_encoder_is_enqueued_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # A decoder of another operator set is such a case.
    monkeypatch.setattr(encoder_graph, "_append_projection", lambda model, files, spec: 0)
    encoder = DeviceEncoder(*find_model(None), CUDA)
    encoder.batching()
    encoder.encode_for_decoding(features([300]))
    inside = waits_of_the_graph(encoder)
    enqueued = Enqueued(encoder.queue.pointer)
    encoder.encode_for_decoding(features([300]))
    seen = enqueued()
    assert (seen.enqueued_elsewhere, seen.waits, seen.waits_elsewhere) == (0, 3, inside)
    encoder.close()


ENDS = """
import gc, sys, time
import numpy as np
import tdt
from tdt.stages import Features

features = Features(np.zeros((2, 128, 300), np.float32), np.array([300, 200]))
for number in range(3):
    asr = tdt.load(provider="cuda:0", decoder="native")
    encoder = asr._stages.encoder
    encoder._batching = "together"  # the probe compares numbers, which mean nothing here
    asr.encode(features)
    if sys.argv[1] == "amid":
        next(iter(encoder._buffers.values())).bindings[0].run(wait=False)
    if sys.argv[1] != "dropped":
        asr.close()
    del asr, encoder
    gc.collect()
time.sleep(0.2)
print("alive")
"""


@pytest.mark.parametrize("how", ["closed", "dropped", "amid"])
def test_a_session_ends_without_taking_the_process_along(how: str) -> None:
    # Seen on a card: pinned memory that was to be given back after the session aborted the process (CUDA failure 800).
    ended = subprocess.run([sys.executable, "-c", ENDS, how], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout.split()) == (0, ["alive"]), ended.stderr


def test_what_is_kept_of_runs_that_are_not_waited_for_is_given_back(encoder: DeviceEncoder) -> None:
    rng = np.random.default_rng(4)
    shapes = [sorted(rng.integers(40, 400, size).tolist(), reverse=True) for size in rng.integers(1, 4, 20)]
    bindings = []
    for lengths in shapes:
        bindings.append(encoder._bound(len(lengths), encoder._padded(lengths[0], len(lengths)), encoder._buffers))

    def once(bound: Any) -> None:
        bound.bindings[0].run(wait=False)

    for _ in range(10):
        for bound in bindings:
            once(bound)
    spent = Spent()
    for index in range(2000):
        once(bindings[index % len(bindings)])
    assert spent().host_to_device >= 2000  # copies that the graph itself makes, through memory that is pinned
    assert spent().allocated_bytes == 0


class Foreign:
    """A device array of a library that notes which stream DLPack was asked for."""

    def __init__(self, array: Any) -> None:
        self.array, self.streams = array, []  # type: ignore[var-annotated]
        self.shape = array.shape

    def __dlpack__(self, stream: int | None = None) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0


def test_another_librarys_array_is_made_ready_for_our_stream(encoder: DeviceEncoder, engine: DeviceEngine) -> None:
    given = Foreign(encoder.session.allocate((2, 128, 320), np.float32))
    encoded = encoder.encode(Features(given, np.array([300, 200])), frames="device")  # type: ignore[arg-type]
    assert given.streams == [encoder.queue.pointer]
    theirs = Foreign(encoded.frames)
    rounds_of(engine, Encoded(theirs, encoded.lengths))  # type: ignore[arg-type]
    assert theirs.streams == [engine.queue.pointer]
    assert adopt(encoded.frames) is encoded.frames


def test_device_features_of_another_size_go_through_the_host_in_order(encoder: DeviceEncoder) -> None:
    given = Foreign(encoder.session.allocate((2, 128, 320), np.float32))
    encoder._batching = "alone"
    enqueued = Enqueued(encoder.queue.pointer)
    encoder.encode(Features(given, np.array([300, 200])))  # type: ignore[arg-type]
    assert enqueued().enqueued_elsewhere == 0


def test_a_fault_of_the_device_is_told(queue: CudaStream) -> None:
    driver().fake_driver_fail()
    with pytest.raises(ProviderError, match=r"Card 0 fails: cuStreamSynchronize gives 700 \(CUDA_ERROR_ILLEGAL_ADD"):
        queue.wait()
    queue.wait()
    driver().fake_driver_fail()
    with pytest.raises(KeyError), queue.work():  # the first error is the one to tell
        raise KeyError
    assert held().contexts == 0


def test_time_is_the_devices_own(queue: CudaStream) -> None:
    timeline = Timeline()
    with queue.work(timeline) as stage:
        with stage("h2d"):
            pass
        with stage("encoder"):
            sum(range(100_000))
    h2d, encoder = timeline.tallies
    assert (h2d.name, h2d.clock, encoder.name, encoder.clock) == ("h2d", "cuda-event", "encoder", "cuda-event")
    assert 0 <= h2d.total_ns < encoder.total_ns
    begin, end = queue._context.event_create(), queue._context.event_create()
    queue._context.event_record(end, queue.pointer)
    with pytest.raises(ProviderError, match="gives 600"):  # no wait has passed it yet
        queue._context.elapsed_ns(begin, end)
    queue._context.event_destroy(begin)
    queue._context.event_destroy(end)


def test_parts_on_one_card_share_and_others_do_not() -> None:
    host = Backend()
    one, other = open_queues([CUDA, CUDA])
    assert one is other
    encoder, decoder = open_queues([CUDA, host])
    assert isinstance(encoder, CudaStream)
    assert isinstance(decoder, HostQueue)
    (theirs, _) = open_queues([replace(CUDA, stream=THEIRS), host])
    assert theirs.pointer == THEIRS
    with pytest.raises(OptionError, match="both parts on one card"):
        open_queues([CUDA, replace(CUDA, device_id=1)], THEIRS)


def test_threads_share_the_stream_and_leave_nothing_behind() -> None:
    gc.collect()
    before = held()
    clips = [np.zeros(16_000 + 2_000 * index, np.float32) for index in range(6)]
    with tdt.load(provider="cuda:0", decoder="onnx") as asr, ThreadPoolExecutor(4) as pool:
        queue = asr._stages.encoder.queue  # type: ignore[attr-defined]
        asr.transcribe(clips, errors="return")
        enqueued = Enqueued(queue.pointer)
        calls = [pool.submit(asr.transcribe, clips[index:], errors="return", timeline=Timeline()) for index in range(6)]
        for index, call in enumerate(calls):
            assert len(call.result()) == 6 - index
            assert all(isinstance(result, (tdt.Transcript, DecodingError)) for result in call.result())
        assert enqueued().enqueued_elsewhere == 0
        assert not queue._in_flight
    assert held().events == before.events


@pytest.mark.parametrize(
    ("rows", "columns", "from_width", "to_width"), [(6, 999, 1000, 1024), (128, 7, 7, 8), (3, 5, 9, 5)]
)
def test_features_are_padded_on_the_card(
    queue: CudaStream, encoder: DeviceEncoder, rows: int, columns: int, from_width: int, to_width: int
) -> None:
    source = encoder.session.allocate((2, rows, from_width), np.float32)
    target = encoder.session.allocate((2, rows, to_width), np.float32)
    values = np.random.default_rng(rows).standard_normal((2, rows, from_width)).astype(np.float32)
    source.copy_from(values)
    target.copy_from(np.full((2, rows, to_width), 7, np.float32))
    spent, enqueued = Spent(), Enqueued(queue.pointer)
    queue.pad(target, source, columns)
    assert (spent().device_to_device, spent().host_to_device, spent().device_to_host) == (1, 0, 0)
    assert (enqueued().enqueued, enqueued().enqueued_elsewhere) == (1 + (columns < to_width), 0)  # zeros where any show
    queue.wait()
    expected = np.zeros((2, rows, to_width), np.float32)
    expected[:, :, :columns] = values[:, :, :columns]
    np.testing.assert_array_equal(target.numpy(), expected)


def test_features_of_another_type_are_converted(encoder: DeviceEncoder) -> None:
    given = encoder.session.allocate((1, 128, 320), np.float16)
    given.copy_from(np.ones((1, 128, 320), np.float16))
    encoded = encoder.encode(Features(given, np.array([300])), frames="host", projected="none")  # type: ignore[arg-type]
    assert encoded.frames.shape == (1, 38, 144)


@pytest.mark.parametrize(
    ("decoder", "provider", "batch_size"),
    [("auto", "cuda:0", 2), ("native", "cuda:0", 2), ("onnx", "cuda:0", 2), ("auto", "cuda:0,graphs=4", 1)],
)
def test_batches_of_short_clips_work_ahead_on_the_shared_stream(
    decoder: Any, provider: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features and encoder of the next batches, each in its thread, while one is decoded; results in their order."""
    samples = [np.zeros(16_000 + 8_000 * (number % 4), np.float32) for number in range(8)]
    who: dict[str, set[str]] = {"encode": set(), "decode": set()}
    with tdt.load(provider=provider, decoder=decoder) as asr:
        stages = asr._stages
        assert stages.works_ahead
        stages.encoder.batching()
        stages.encoder._batching = "together"  # type: ignore[attr-defined]
        for name, kind in (("encode", type(stages.encoder)), ("decode", type(stages.engine))):
            method = getattr(kind, name)

            def noted(self: Any, *given: Any, _method: Any = method, _name: str = name, **options: Any) -> Any:
                who[_name].add(threading.current_thread().name)
                return _method(self, *given, **options)

            monkeypatch.setattr(kind, name, noted)
        asr.transcribe(samples, batch_size=batch_size, errors="return")  # what takes memory
        enqueued = Enqueued(stages.encoder.queue.pointer)  # type: ignore[attr-defined]
        results = asr.transcribe(samples, batch_size=batch_size, errors="return")
        seen = enqueued()
    assert len(results) == 8
    assert all(isinstance(result, tdt.Transcript | DecodingError) for result in results)
    assert seen.enqueued > (60 if "graphs" in provider else 1000)  # launched as graphs: copies, a launch each, decoding
    assert seen.enqueued_elsewhere == 0
    assert "tdt-ahead" in who["encode"]
    assert who["decode"] == {threading.current_thread().name}
