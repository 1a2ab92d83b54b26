// The page's modules in node: the table of its states, and what goes over the wire. Run by test_page_modules.py.

import assert from "node:assert/strict";
import test from "node:test";
import { STATES, next } from "./captions.js";
import { FORMATS, Transcript, backoff, clock, finishMessage, listenUrl, parse, pcm16, protocolsOf, shortClock, startMessage } from "./wire.js";

const word = (text, start, settled = true, confidence = 0.5) => ({ text, start, end: start + 0.4, confidence, settled });
const update = (type, final, draft, words, start = 0, end = 1) => ({ type, final, draft, words, start, end, audio_seconds: end + 1 });

test("every event leads to a state that there is, and every state is reached", () => {
  const reached = new Set(["ready"]);
  for (const [name, state] of Object.entries(STATES)) {
    assert.ok(state.says.endsWith("."), `${name} says a sentence`);
    for (const to of Object.values(state.on)) {
      assert.ok(to in STATES, `${name} leads to ${to}`);
      reached.add(to);
    }
  }
  assert.deepEqual([...reached].sort(), Object.keys(STATES).sort());
});

test("what the big button does leads somewhere, and an open microphone can always be stopped", () => {
  for (const [name, { button: [label, event], live, on }] of Object.entries(STATES)) {
    assert.ok(label.length > 0);
    if (event !== null) assert.notEqual(next(name, event), name, `${name}: ${event}`);
    if (live) assert.equal(event, "stop", name);
    assert.equal(next(name, "no such event"), name);
    if (!("start" in on)) assert.ok("error" in on, `${name} can fail`);
  }
});

test("a recording from press to end, with a broken line", () => {
  const course = ["start", "granted", "open", "speech", "silence", "speech", "lost", "open", "speech", "stop", "finished"];
  const states = course.reduce((all, event) => [...all, next(all.at(-1), event)], ["ready"]);
  assert.deepEqual(states, ["ready", "asking", "connecting", "waiting", "listening", "silence", "listening", "reconnecting", "waiting", "listening", "finishing", "done"]);
  assert.equal(next("asking", "denied"), "refused");
  assert.equal(next("finishing", "lost"), "finishing");
  assert.equal(next("reading", "stop"), "ready");
});

test("samples are coded to 16 bits and cut off at full scale", () => {
  assert.deepEqual([...pcm16(Float32Array.of(0, 0.5, -0.5, 1, 2, -1, -2, 1 / 32768))], [0, 16384, -16384, 32767, 32767, -32768, -32768, 1]);
});

test("addresses, keys and messages", () => {
  assert.equal(listenUrl(new URL("http://localhost:8000/"), 2), "ws://localhost:8000/v1/listen?latency=2");
  assert.equal(listenUrl(new URL("https://here/speech/index.html"), 1), "wss://here/speech/v1/listen?latency=1");
  assert.deepEqual(protocolsOf(""), ["tdt.v1"]);
  assert.deepEqual(protocolsOf("ü?>"), ["tdt.v1", "key.w7w_Pg"]);
  assert.deepEqual(JSON.parse(startMessage(48000)), { type: "start", rate: 48000, format: "pcm16" });
  assert.deepEqual(JSON.parse(finishMessage()), { type: "finish" });
  assert.equal(parse('{"type": "heard", "decoded_seconds": 1}').decoded_seconds, 1);
  for (const odd of ["", "{", "null", "[]", '{"type": "new thing"}', '"final"']) assert.equal(parse(odd), null);
  assert.deepEqual([0, 1, 2, 10].map((attempt) => backoff(attempt, 1)), [0.5, 1, 2, 10]);
  assert.equal(backoff(3, 0), 2);
});

test("settled words are appended once, the draft is replaced, the final closes", () => {
  const said = new Transcript();
  assert.equal(said.take(update("speech", "", "", [])), null);
  const first = said.take(update("partial", "Hello", " worl", [word("Hello", 0), word("worl", 1, false)]));
  const kept = first.words[0];
  assert.equal(said.text, "Hello worl");
  assert.equal(said.take(update("partial", "Hello", " world.", [word("Hello", 0, true, 0.9), word("world.", 1, false)])), first);
  assert.equal(first.words[0], kept, "never touched");
  said.take(update("final", "Hello world.", "", [word("Hello", 0), word("world.", 1)]));
  assert.deepEqual([first.open, first.draft, first.words.length], [false, "", 2]);
  said.take(update("partial", "", "Next", [word("Next", 3, false)], 3, 4), 10);
  assert.equal(said.utterances[1].start, 13, "times of a second connection count from where it began");
  said.gap(14, 16);
  assert.equal(said.utterances[1].open, false);
  assert.equal(said.text, "Hello world. Next");
  assert.equal(said.take(update("partial", "New", "", [word("New", 0)], 0, 1), 16).start, 16);
});

test("the answer for a file is its segments with their words", () => {
  const said = Transcript.ofFile({
    duration: 4, text: "A b. C.",
    words: [{ word: "A", start: 0, end: 0.2, confidence: 0.4 }, { word: "b.", start: 0.5, end: 0.8 }, { word: "C.", start: 2, end: 3 }],
    segments: [{ start: 0, end: 0.8, text: " A b." }, { start: 2, end: 3, text: "C." }],
  });
  assert.deepEqual(said.utterances.map((one) => [one.text, one.words.length]), [["A b.", 2], ["C.", 1]]);
  assert.deepEqual(said.utterances[0].words.map((one) => one.confidence), [0.4, 1]);
  assert.ok(Transcript.ofFile({ text: "" }).empty);
});

test("downloads", () => {
  const said = new Transcript();
  said.take(update("final", "A <b> & c.", "", [word("A", 0.5)], 0.5, 1.25));
  said.gap(2, 3);
  said.take(update("partial", "", "more", [word("more", 3661, false)], 3661, 3661.9996));
  assert.equal(FORMATS.txt.make(said), "A <b> & c.\nmore\n");
  assert.equal(FORMATS.srt.make(said), "1\n00:00:00,500 --> 00:00:01,250\nA <b> & c.\n\n2\n01:01:01,000 --> 01:01:02,000\nmore\n\n");
  assert.ok(FORMATS.vtt.make(said).startsWith("WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nA &lt;b&gt; &amp; c.\n\n"));
  const found = JSON.parse(FORMATS.json.make(said, "tiny"));
  assert.deepEqual([found.model, found.utterances.length, found.utterances[1].gap], ["tiny", 3, true]);
  assert.equal(clock(0), "00:00:00.000");
  assert.deepEqual([shortClock(0), shortClock(61.9), shortClock(3599), shortClock(3725)], ["0:00", "1:01", "59:59", "1:02:05"]);
});
