// One recording: microphone and socket together, connected again where the line breaks.

import { backoff, finishMessage, listenUrl, parse, pcm16, protocolsOf, startMessage } from "./wire.js";
import { Kept, loudness, openMicrophone } from "./sound.js";

const TRIES = 8;
const FINAL = 4400; // a close code from here on is a refusal: trying again would not help, but for these two
const AGAIN = new Set([4429, 4503]);

export class Live {
  // `on` holds functions: state(event), message(message, offset), gap(start, end), level(0..1), problem(text).
  constructor(on, latency, key) {
    Object.assign(this, { on, latency, key });
    this.captured = 0; // samples
    this.offset = 0; // seconds captured when the socket opened: its times count from there
    this.attempt = 0;
    this.lostAt = null;
    this.stopped = this.told = false;
    this.socket = null;
    this.early = []; // blocks before the first socket is open
  }

  async start() {
    this.microphone = await openMicrophone((samples) => this.#take(samples));
    this.kept ??= new Kept(this.microphone.rate);
    if (this.stopped) { await this.microphone.stop(); return; }
    this.on.state("granted");
    this.#connect();
  }

  get seconds() { return this.microphone ? this.captured / this.microphone.rate : 0; }

  // Release the microphone at once; the last words are still waited for.
  async stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.microphone?.stop();
    this.on.level(0);
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(finishMessage());
    else if (this.socket?.readyState !== WebSocket.CONNECTING) this.on.state("finished");
  }

  #take(samples) {
    this.kept ??= new Kept(this.microphone?.rate ?? 48000);
    this.kept.add(samples);
    this.captured += samples.length;
    this.on.level(loudness(samples));
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(pcm16(samples));
    else if (this.lostAt === null) this.early.push(samples);
  }

  #connect() {
    const socket = new WebSocket(listenUrl(window.location, this.latency), protocolsOf(this.key));
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.attempt = 0;
      socket.send(startMessage(Math.round(this.microphone.rate)));
      if (this.lostAt !== null) {
        this.offset = this.seconds;
        this.on.gap(this.lostAt, this.offset);
        this.lostAt = null;
      }
      for (const samples of this.early.splice(0)) socket.send(pcm16(samples));
      this.on.state("open");
      if (this.stopped) socket.send(finishMessage());
    };
    socket.onmessage = ({ data }) => {
      const message = parse(data);
      if (message === null) return;
      if (message.type === "error") this.on.problem(message.error.message);
      this.told = message.type === "error" && message.fatal;
      this.on.message(message, this.offset);
    };
    socket.onclose = ({ code }) => this.#closed(code);
  }

  #closed(code) {
    if (code === 1000) { this.on.state("finished"); return; }
    const refused = code >= FINAL && code < 5000 && !AGAIN.has(code);
    if (refused || this.stopped || this.attempt >= TRIES) {
      if (!this.told) this.on.problem("The server cannot be reached, or has ended. What was said until then stays here.");
      this.on.state("error");
      this.microphone?.stop();
      this.on.level(0);
      return;
    }
    this.lostAt ??= this.seconds;
    this.on.state("lost");
    this.timer = setTimeout(() => this.#connect(), 1000 * backoff(this.attempt));
    this.attempt += 1;
  }

  // Seconds that the server is behind what was captured, beyond its latency by design.
  behind(message, offset, latency) { return this.seconds - offset - message.decoded_seconds - latency; }
}
