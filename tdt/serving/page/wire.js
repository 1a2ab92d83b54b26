// What goes over the wire and what is made of it: messages, texts, files. Knows no page; runs in node as it is.

export const PROTOCOL = "tdt.v1";
const KINDS = new Set(["ready", "speech", "partial", "final", "silence", "heard", "finished", "error"]);

export function listenUrl(location, latency) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const folder = location.pathname.replace(/[^/]*$/, "");
  return `${scheme}//${location.host}${folder}v1/listen?latency=${latency}`;
}

// A browser sends no headers with a socket: the key travels as a subprotocol.
export function protocolsOf(key) {
  if (!key) return [PROTOCOL];
  const bytes = new TextEncoder().encode(key);
  const coded = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [PROTOCOL, `key.${coded}`];
}

export const startMessage = (rate) => JSON.stringify({ type: "start", rate, format: "pcm16" });
export const finishMessage = () => JSON.stringify({ type: "finish" });

// Full scale is -1..1; what is louder is cut off.
export function pcm16(samples) {
  const coded = new Int16Array(samples.length);
  for (let at = 0; at < samples.length; at += 1) {
    coded[at] = Math.round(Math.max(-1, Math.min(32767 / 32768, samples[at])) * 32768);
  }
  return coded;
}

// The message as an object, or null for what this page does not know (of a newer server).
export function parse(text) {
  try {
    const message = JSON.parse(text);
    return message !== null && KINDS.has(message.type) ? message : null;
  } catch {
    return null;
  }
}

// Seconds before the next try: doubled each time up to ten, half of it by chance.
export const backoff = (attempt, chance = Math.random()) => Math.min(10, 0.5 * 2 ** attempt) * (0.5 + chance / 2);

// --- what was said ---------------------------------------------------------------------------------------------------

// Utterances in order: {start, end, text, words, open, draft}, or {gap: true, start, end}. A settled word is appended
// once and never touched.
export class Transcript {
  constructor() {
    this.utterances = [];
    this.audioSeconds = 0;
  }

  get empty() { return this.utterances.length === 0; }

  get text() {
    return this.utterances.map((one) => one.text + (one.draft ?? "")).filter(Boolean).join(" ");
  }

  // Take an update, whose times count from `offset`; return the utterance that it changed, or null.
  take(update, offset = 0) {
    this.audioSeconds = Math.max(this.audioSeconds, offset + (update.audio_seconds ?? 0));
    if (update.type !== "partial" && update.type !== "final") return null;
    let last = this.utterances.at(-1);
    if (last === undefined || !last.open) {
      last = { start: offset + update.start, end: 0, text: "", words: [], open: true, draft: "" };
      this.utterances.push(last);
    }
    const settled = update.words.filter((word) => word.settled);
    for (const word of settled.slice(last.words.length)) {
      last.words.push({ text: word.text, start: offset + word.start, end: offset + word.end, confidence: word.confidence });
    }
    if (last.words.length) last.start = last.words[0].start;
    last.end = offset + update.end;
    last.text = update.final;
    last.draft = update.type === "final" ? "" : update.draft;
    last.open = update.type !== "final";
    return last;
  }

  // What was heard between two connections is lost; what was a draft stays as it stood.
  gap(start, end) {
    this.close();
    const gap = { gap: true, start, end, text: "", words: [], open: false };
    this.utterances.push(gap);
    return gap;
  }

  close() {
    const last = this.utterances.at(-1);
    if (last?.open) last.open = false;
  }

  // The answer for a file: its segments, each with its words.
  static ofFile(answer) {
    const made = new Transcript();
    made.audioSeconds = answer.duration ?? 0;
    const segments = answer.segments ?? [];
    let at = 0;
    const all = answer.words ?? [];
    segments.forEach((segment, number) => {
      const next = segments[number + 1]?.start ?? Infinity;
      const words = [];
      for (; at < all.length && all[at].start < next; at += 1) {
        words.push({ text: all[at].word, start: all[at].start, end: all[at].end, confidence: all[at].confidence ?? 1 });
      }
      made.utterances.push({ start: segment.start, end: segment.end, text: segment.text.trim(), words, open: false, draft: "" });
    });
    return made;
  }
}

export function clock(seconds, mark = ".") {
  const total = Math.max(0, Math.round(seconds * 1000));
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  return `${two(total / 3600000)}:${two((total / 60000) % 60)}:${two((total / 1000) % 60)}${mark}${String(total % 1000).padStart(3, "0")}`;
}

export function shortClock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const rest = `${String(Math.floor(whole / 60) % 60).padStart(whole >= 3600 ? 2 : 1, "0")}:${String(whole % 60).padStart(2, "0")}`;
  return whole >= 3600 ? `${Math.floor(whole / 3600)}:${rest}` : rest;
}

const spoken = (transcript) => transcript.utterances.filter((one) => !one.gap && one.text + (one.draft ?? ""));
const textOf = (one) => (one.text + (one.draft ?? "")).trim();

export const FORMATS = {
  txt: { type: "text/plain", make: (transcript) => spoken(transcript).map((one) => textOf(one) + "\n").join("") },
  srt: {
    type: "application/x-subrip",
    make: (transcript) => spoken(transcript).map((one, number) =>
      `${number + 1}\n${clock(one.start, ",")} --> ${clock(one.end, ",")}\n${textOf(one)}\n\n`).join(""),
  },
  vtt: {
    type: "text/vtt",
    make: (transcript) => "WEBVTT\n\n" + spoken(transcript).map((one) => {
      const text = textOf(one).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
      return `${clock(one.start)} --> ${clock(one.end)}\n${text}\n\n`;
    }).join(""),
  },
  json: {
    type: "application/json",
    make: (transcript, model) => JSON.stringify({
      model,
      audio_seconds: transcript.audioSeconds,
      text: transcript.text,
      utterances: transcript.utterances.map((one) => one.gap
        ? { gap: true, start: one.start, end: one.end }
        : { start: one.start, end: one.end, text: textOf(one), words: one.words }),
    }, null, 2) + "\n",
  },
};
