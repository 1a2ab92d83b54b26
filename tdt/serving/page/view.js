// Draws a transcript: settled words are appended once and never touched, the draft is one span replaced as a whole.

import { shortClock } from "./wire.js";

const SHOWN = 400; // utterances on the page; all are kept for downloads
const NEAR_END = 48; // pixels
const PERCENT = (value) => `${Math.round(100 * value)} %`;
const surely = (confidence) => (confidence < 0.25 ? 0 : confidence < 0.5 ? 1 : 2);

export class View {
  // `play` is called with the seconds at which a word begins.
  constructor(root, latest, log, play) {
    Object.assign(this, { root, latest, log, play, announce: true });
    this.drawn = new Map(); // utterance → {row, draft, count}
    this.atEnd = true;
    this.entry = null; // the word that the tab key reaches
    root.addEventListener("scroll", () => this.#follow(this.#near()));
    latest.addEventListener("click", () => { this.#follow(true); this.#scroll(); });
    root.addEventListener("click", (event) => this.#pick(event.target));
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  clear() {
    this.drawn.clear();
    this.root.replaceChildren();
    this.log.replaceChildren();
    this.entry = null;
    this.#follow(true);
  }

  // Draw what has changed of an utterance.
  show(utterance) {
    let held = this.drawn.get(utterance);
    if (held === undefined) {
      held = this.#row(utterance);
      this.drawn.set(utterance, held);
      this.root.append(held.row);
      this.#forget();
    }
    for (const word of utterance.words.slice(held.count)) {
      held.row.insertBefore(this.#word(word), held.draft);
      held.row.insertBefore(document.createTextNode(" "), held.draft);
    }
    held.count = utterance.words.length;
    held.draft.textContent = (utterance.draft ?? "").trim();
    held.draft.hidden = !held.draft.textContent;
    if (!utterance.open && !held.closed) {
      held.closed = true;
      if (this.announce && utterance.text) this.log.append(element("p", "", utterance.text));
      while (this.log.childElementCount > 20) this.log.firstElementChild.remove();
    }
    if (this.atEnd) this.#scroll();
  }

  // Mark the word that is being played.
  mark(seconds) {
    const now = [...this.root.querySelectorAll(".word")].findLast((word) => Number(word.dataset.start) <= seconds + 0.02);
    const playing = now && seconds < Number(now.dataset.end) + 0.3 ? now : undefined;
    for (const word of this.root.querySelectorAll(".word.playing")) if (word !== playing) word.classList.remove("playing");
    playing?.classList.add("playing");
  }

  #row(utterance) {
    const row = element("p", utterance.gap ? "gap" : "utterance");
    const draft = element("span", "draft");
    row.lang = "";
    if (utterance.gap) {
      row.lang = "en";
      row.append(`The connection was lost for ${Math.max(1, Math.round(utterance.end - utterance.start))} s: what was said then is missing.`);
    } else {
      row.append(element("span", "time", shortClock(utterance.start)), draft);
    }
    return { row, draft, count: 0, closed: false };
  }

  #word(word) {
    const made = element("span", `word sure-${surely(word.confidence)}`, word.text);
    made.setAttribute("role", "button");
    made.title = `${word.start.toFixed(2)} s, ${PERCENT(word.confidence)} sure`;
    made.dataset.start = word.start;
    made.dataset.end = word.end;
    made.tabIndex = -1;
    if (this.entry === null || !this.entry.isConnected) this.#enter(made);
    return made;
  }

  // The transcript is one tab stop: one word at a time can be reached.
  #enter(word) {
    if (this.entry) this.entry.tabIndex = -1;
    this.entry = word;
    word.tabIndex = 0;
  }

  #pick(target) {
    const word = target.closest?.(".word");
    if (!word) return;
    this.#enter(word);
    this.play(Number(word.dataset.start));
  }

  #key(event) {
    const words = [...this.root.querySelectorAll(".word")];
    const at = words.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 5, ArrowUp: at - 5, Home: 0, End: words.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") this.#pick(event.target);
    else if (to === undefined) return;
    else {
      const word = words[Math.max(0, Math.min(words.length - 1, to))];
      this.#enter(word);
      word.focus();
    }
    event.preventDefault();
  }

  #near() { return this.root.scrollHeight - this.root.scrollTop - this.root.clientHeight < NEAR_END; }

  #scroll() { this.root.scrollTop = this.root.scrollHeight; }

  #follow(atEnd) {
    this.atEnd = atEnd;
    this.latest.hidden = atEnd;
  }

  #forget() {
    if (this.drawn.size <= SHOWN) return;
    const [utterance, { row }] = this.drawn.entries().next().value;
    const focused = row.contains(document.activeElement);
    row.remove();
    this.drawn.delete(utterance);
    if (focused) this.root.querySelector(".word")?.focus();
  }
}

export function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}
