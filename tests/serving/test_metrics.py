"""What Prometheus reads, by its own format's rules."""

from __future__ import annotations

import re

from tdt.serving.metrics import MEASURES, Metrics

LINE = re.compile(r'^([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,le="[^"]+")?\})? (\S+)$')


def test_every_line_is_in_the_format_and_every_measure_is_there() -> None:
    metrics = Metrics()
    metrics.add("tdt_requests_total", label="200")
    metrics.add("tdt_refusals_total", label='a "quoted"\\ line\nend')
    metrics.observe("tdt_batch_size", 3)
    metrics.observe("tdt_stage_seconds", 0.03, "read")
    text = metrics.render()
    assert text.endswith("\n")
    for name, measure in MEASURES.items():
        assert f"# TYPE {name} {measure.kind}\n" in text
    for line in text.splitlines():
        assert line.startswith("# ") or LINE.match(line), line


def test_histograms_count_up() -> None:
    metrics = Metrics()
    for value in (1, 2, 3, 100):
        metrics.observe("tdt_batch_size", value)
    found = {line.split(" ")[0]: float(line.split(" ")[1]) for line in metrics.render().splitlines() if line[0] != "#"}
    assert found['tdt_batch_size_bucket{le="1"}'] == 1
    assert found['tdt_batch_size_bucket{le="2"}'] == 2
    assert found['tdt_batch_size_bucket{le="4"}'] == 3
    assert found['tdt_batch_size_bucket{le="64"}'] == 3
    assert found['tdt_batch_size_bucket{le="+Inf"}'] == found["tdt_batch_size_count"] == 4
    assert found["tdt_batch_size_sum"] == 106


def test_gauges_and_counters() -> None:
    metrics = Metrics()
    metrics.put("tdt_waiting_runs", 7)
    metrics.add("tdt_audio_seconds_total", 1.5)
    metrics.add("tdt_audio_seconds_total", 1.5)
    assert (metrics.value("tdt_waiting_runs"), metrics.value("tdt_audio_seconds_total")) == (7, 3)
