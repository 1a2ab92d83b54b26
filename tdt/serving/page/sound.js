// The microphone, and what was heard of it, kept for playing.

const BLOCK_SECONDS = 0.04;
const KEPT_RATE = 16000;
const KEPT_SECONDS = 3600;

// Open the microphone; `take` is called with each block (Float32Array). `stop` releases it at once and resolves when
// the last block has been taken.
export async function openMicrophone(take) {
  const wanted = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted });
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    const size = Math.round(context.sampleRate * BLOCK_SECONDS);
    const node = new AudioWorkletNode(context, "gatherer", { numberOfOutputs: 0, processorOptions: { size } });
    const ended = new Promise((resolve) => {
      node.port.onmessage = ({ data }) => {
        if (data.samples.length) take(data.samples);
        if (data.last) resolve();
      };
    });
    context.createMediaStreamSource(stream).connect(node);
    await context.resume();
    return {
      rate: context.sampleRate,
      async stop() {
        node.port.postMessage("stop");
        stream.getTracks().forEach((track) => track.stop());
        await ended;
        await context.close();
      },
    };
  } catch (error) {
    stream.getTracks().forEach((track) => track.stop());
    await context.close();
    throw error;
  }
}

// Root mean square as a place from 0 (-60 dB or less) to 1 (full scale).
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const decibels = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
  return Math.max(0, Math.min(1, 1 + decibels / 60));
}

// The last hour at about 16 kHz, 16 bits: for the ear, not for the model.
export class Kept {
  constructor(rate) {
    this.step = Math.max(1, Math.floor(rate / KEPT_RATE));
    this.rate = rate / this.step;
    this.blocks = [];
    this.count = this.dropped = 0;
    this.rest = new Float32Array(0);
  }

  add(samples) {
    const all = new Float32Array(this.rest.length + samples.length);
    all.set(this.rest);
    all.set(samples, this.rest.length);
    const block = new Int16Array(Math.floor(all.length / this.step));
    for (let at = 0; at < block.length; at += 1) {
      let sum = 0;
      for (let inner = 0; inner < this.step; inner += 1) sum += all[at * this.step + inner];
      block[at] = Math.max(-32768, Math.min(32767, Math.round((sum / this.step) * 32768)));
    }
    this.rest = all.slice(block.length * this.step);
    this.blocks.push(block);
    this.count += block.length;
    while (this.count > KEPT_SECONDS * this.rate) {
      const first = this.blocks.shift();
      this.count -= first.length;
      this.dropped += first.length;
    }
  }

  // Seconds of the recording at which the kept part begins.
  get start() { return this.dropped / this.rate; }

  wav() {
    const rate = Math.round(this.rate);
    const head = new DataView(new ArrayBuffer(44));
    const letters = (at, text) => [...text].forEach((letter, place) => head.setUint8(at + place, letter.charCodeAt(0)));
    letters(0, "RIFF"); head.setUint32(4, 36 + 2 * this.count, true); letters(8, "WAVEfmt ");
    head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);
    head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true); head.setUint16(32, 2, true);
    head.setUint16(34, 16, true); letters(36, "data"); head.setUint32(40, 2 * this.count, true);
    return new Blob([head, ...this.blocks], { type: "audio/wav" });
  }
}
