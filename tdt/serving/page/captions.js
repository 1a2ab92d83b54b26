// The page: its states as a table, and what a press, a file and a message do. All else lies in the modules beside.

import { FORMATS, Transcript } from "./wire.js";
import { View } from "./view.js";
import { Live } from "./live.js";

// One state at a time: what it says, what the big button does, and where each event leads; others are ignored.
const READY = { button: ["Speak", "start"], on: { start: "asking", file: "reading" } };
const HEARING = { button: ["Stop", "stop"], live: true };
const heard = { speech: "listening", silence: "silence", stop: "finishing", lost: "reconnecting", error: "failed" };
export const STATES = {
  ready: { says: "Ready.", ...READY },
  asking: { says: "Asking for the microphone.", button: ["Cancel", "stop"], on: { granted: "connecting", denied: "refused", stop: "ready", error: "failed" } },
  refused: { says: "The microphone was refused. Allow it beside the address of this page, then press Speak.", ...READY },
  connecting: { says: "Connecting.", ...HEARING, on: { open: "waiting", lost: "reconnecting", stop: "finishing", error: "failed" } },
  waiting: { says: "Waiting for the first words.", ...HEARING, on: heard },
  listening: { says: "Listening.", ...HEARING, on: heard },
  silence: { says: "Silence.", ...HEARING, on: heard },
  reconnecting: { says: "The connection was lost. Trying again.", ...HEARING, on: { open: "waiting", stop: "finishing", error: "failed" } },
  finishing: { says: "Waiting for the last words.", button: ["Wait", null], on: { finished: "done", error: "failed" } },
  reading: { says: "Transcribing the file.", button: ["Cancel", "stop"], on: { finished: "done", stop: "ready", error: "failed" } },
  done: { says: "Done.", ...READY },
  failed: { says: "Failed.", ...READY },
};

// Return the state that an event leads to; the same one where it means nothing.
export const next = (state, event) => STATES[state].on[event] ?? state;

const PROVIDERS = { cpu: "CPU" };
const by = (id) => document.getElementById(id);

class Page {
  constructor() {
    this.state = "ready";
    this.transcript = new Transcript();
    this.view = new View(by("transcript"), by("latest"), by("log"), (seconds) => this.play(seconds));
    this.live = this.cancel = this.file = null;
    this.design = null; // latency by design, in seconds
    this.played = { url: null, count: -1, start: 0 };
    this.wire();
    this.draw();
    this.meet();
  }

  wire() {
    by("main").addEventListener("click", () => this.press());
    by("file").addEventListener("change", ({ target }) => { if (target.files[0]) this.read(target.files[0]); target.value = ""; });
    for (const button of document.querySelectorAll("[data-format]")) button.addEventListener("click", () => this.save(button.dataset.format));
    by("captions").addEventListener("click", () => this.toggle());
    by("help").addEventListener("click", () => by("keys").showModal());
    by("settings").addEventListener("submit", (event) => event.preventDefault());
    by("size").addEventListener("change", ({ target }) => { document.documentElement.dataset.size = target.value; });
    by("announce").addEventListener("change", ({ target }) => { this.view.announce = target.checked; });
    by("player").addEventListener("timeupdate", ({ target }) => this.view.mark(target.currentTime + this.played.start));
    by("player").addEventListener("ended", () => this.view.mark(-1));
    document.addEventListener("keydown", (event) => this.key(event));
    for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => { event.preventDefault(); by("drop").hidden = false; });
    by("drop").addEventListener("dragleave", () => { by("drop").hidden = true; });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      by("drop").hidden = true;
      const file = event.dataTransfer.files[0];
      if (file) this.read(file);
    });
  }

  async meet() {
    try {
      const found = await (await fetch("health")).json();
      this.model = found.model;
      by("model").textContent = found.model;
      by("provider").textContent = PROVIDERS[found.provider] ?? found.provider;
    } catch {
      this.problem("The server does not answer. Start it with `tdt serve`, then load this page again.");
    }
  }

  // --- states ---

  go(event) {
    const before = this.state;
    this.state = next(before, event);
    if (this.state !== before) this.draw();
    return this.state !== before;
  }

  draw() {
    const { says, button: [label, event], live } = STATES[this.state];
    document.body.dataset.state = this.state;
    document.body.dataset.live = live ? "yes" : "no";
    by("state").textContent = says;
    by("main").textContent = label;
    by("main").disabled = event === null;
    const empty = this.transcript.empty;
    by("empty").hidden = !empty;
    for (const one of document.querySelectorAll("[data-format]")) one.disabled = empty;
    if (this.state === "done" || this.state === "failed") { this.transcript.close(); this.listen(); }
  }

  press() {
    const event = STATES[this.state].button[1];
    if (event === "start") this.speak();
    else if (event === "stop") this.stop();
  }

  problem(text) {
    by("alert").textContent = text;
    by("alert").hidden = !text;
  }

  fresh() {
    this.problem("");
    this.transcript = new Transcript();
    this.view.clear();
    by("player").pause();
    by("player").hidden = true;
    this.live = this.file = null;
    this.played.count = -1;
  }

  // --- speaking ---

  async speak() {
    if (!this.go("start")) return;
    this.fresh();
    this.draw();
    const live = this.live = new Live({
      state: (event) => { if (live === this.live) this.go(event); },
      message: (message, offset) => this.message(message, offset),
      gap: (start, end) => this.view.show(this.transcript.gap(start, end)),
      level: (level) => this.level(level),
      problem: (text) => this.problem(text),
    }, by("wanted").value, by("key").value);
    try {
      await live.start();
    } catch (error) {
      const denied = error.name === "NotAllowedError" || error.name === "SecurityError";
      if (!denied) this.problem(navigator.mediaDevices ? `The microphone cannot be used: ${error.message}.` : "A browser gives the microphone to https pages and localhost only.");
      this.go(denied ? "denied" : "error");
    }
  }

  stop() {
    this.cancel?.abort();
    this.live?.stop();
    this.go("stop");
  }

  message(message, offset) {
    if (message.type === "ready") this.design = message.latency_seconds;
    if (message.type === "heard") {
      const behind = this.live.behind(message, offset, this.design);
      const late = behind > 1.5 && STATES[this.state].live ? `, behind by ${Math.round(behind)} s` : "";
      by("latency").textContent = `${this.design.toFixed(1)} s + ${Math.round(1000 * message.step_seconds)} ms${late}`;
    }
    const changed = this.transcript.take(message, offset);
    if (changed) this.view.show(changed);
    if (message.type === "speech" || message.type === "silence") this.go(message.type);
    if (changed && !by("empty").hidden) this.draw();
  }

  level(level) {
    by("level").value = level;
    const word = level > 0.97 ? "too loud" : "";
    this.quiet = level > 0.3 ? 0 : (this.quiet ?? 0) + 1;
    const text = STATES[this.state].live ? word || (this.quiet > 100 ? "too quiet" : "") : "";
    if (by("loudness").textContent !== text) by("loudness").textContent = text;
  }

  // --- files ---

  async read(file) {
    if (!this.go("file")) return;
    this.fresh();
    this.file = file;
    this.draw();
    const cancel = this.cancel = new AbortController();
    const form = new FormData();
    for (const [name, value] of [["response_format", "verbose_json"], ["timestamp_granularities[]", "word"], ["timestamp_granularities[]", "segment"]]) form.append(name, value);
    form.append("file", file, file.name);
    const key = by("key").value;
    try {
      const answer = await fetch("v1/audio/transcriptions", { method: "POST", body: form, signal: cancel.signal, headers: key ? { authorization: `Bearer ${key}` } : {} });
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error.message);
      this.transcript = Transcript.ofFile(found);
      this.transcript.utterances.forEach((one) => this.view.show(one));
      if (this.transcript.empty) this.problem("Nothing was said in this file, as far as the model hears.");
      this.go("finished");
    } catch (error) {
      if (cancel.signal.aborted) return;
      this.problem(error instanceof TypeError ? "The server cannot be reached." : error.message);
      this.go("error");
    }
  }

  // --- hearing it again ---

  listen() {
    const kept = this.live?.kept;
    const count = this.file ? 0 : kept?.count ?? 0;
    if (!this.file && !count) return;
    by("player").hidden = false;
    if (this.played.count === count) return;
    URL.revokeObjectURL(this.played.url);
    this.played = { url: URL.createObjectURL(this.file ?? kept.wav()), count, start: this.file ? 0 : kept.start };
    by("player").src = this.played.url;
  }

  play(seconds) {
    this.listen();
    by("player").currentTime = Math.max(0, seconds - this.played.start);
    by("player").play().catch(() => {}); // a format that this browser does not play shows its own sign
  }

  save(format) {
    const { type, make } = FORMATS[format];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([make(this.transcript, this.model)], { type }));
    link.download = `${this.file ? this.file.name.replace(/\.[^.]*$/, "") : "captions"}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  toggle() { by("captions").setAttribute("aria-pressed", String(document.body.classList.toggle("captions"))); }

  key(event) {
    if (event.key === "Escape" && !by("keys").open && STATES[this.state].button[1] === "stop") this.stop();
    const typing = event.target.closest?.("input:not([type=checkbox]):not([type=file]), select, textarea, dialog");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !by("letters").checked) return;
    const player = by("player");
    const act = { r: () => this.press(), c: () => this.toggle(), "?": () => by("keys").showModal(),
      d: () => by("downloads").querySelector("button:enabled")?.focus(), p: () => (player.paused ? this.play(player.currentTime + this.played.start) : player.pause()) }[event.key.toLowerCase()];
    if (act) { event.preventDefault(); act(); }
  }
}

if (typeof document !== "undefined") new Page();
