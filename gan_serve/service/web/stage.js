/** The large picture: a walk through keys that plays by itself, or the point that a person steers to. */

import { $, ICONS, icon } from "./dom.js";
import { paint } from "./paint.js";
import { SPEEDS, nameOf, pointAt, pointOf } from "./state.js";
import { Steady } from "./steady.js";
import { Path, RATE, Walk } from "./walk.js";

const OPENING = 6; // keys of a walk that nobody chose
const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Stage {
  #explorer;
  #canvas = $("picture");
  #shown = null; // the request of what is on the screen
  #followed = null; // names the path of the walk
  #isAtPoint = false; // what the screen should show: a point, or a frame of the walk; pixels of the other are dropped
  #point = new Steady((point) => this.#samplePoint(point));
  #seek = new Steady((index) => this.walk.seek(index));

  constructor(explorer) {
    this.#explorer = explorer;
    this.walk = new Walk(
      (path, indices, isStale) => explorer.sample(path.request(indices, this.#common()), isStale),
      (index, pixels) => this.#isAtPoint || this.#showFrame(index, pixels),
    );
    $("speed").replaceChildren(...SPEEDS.map((seconds) => new Option(`${seconds} s a key`, seconds)));
    $("speed").addEventListener("change", ({ target }) =>
      explorer.store.set({ speed: Number(target.value) }, { replace: true }),
    );
    $("play").addEventListener("click", () => this.toggle());
    $("position").addEventListener("input", ({ target }) => {
      this.pause();
      this.#isAtPoint = false;
      this.#seek.ask(Number(target.value));
    });
    $("pin").replaceChildren(icon(ICONS.pin), "Pin");
    $("pin").addEventListener("click", () => this.pin());
    new ResizeObserver(() => this.#fitScreen()).observe($("screen"));
    this.#showPlaying();
  }

  /** The keys of the walk: the pins, or seeds that follow the current one, all of its class. */
  get keys() {
    const { pins, seed, label } = this.#explorer.store.get();
    if (pins.length >= 2) return pins;
    const stride = label === null ? this.#explorer.model.c_dim || 1 : 1;
    return Array.from({ length: OPENING }, (_, index) => pointAt((seed + index * stride) % 2 ** 32, label));
  }

  /** The request of what is on the screen, for files and code. */
  get request() {
    return this.#shown ?? this.#explorer.requestOf(pointOf(this.#explorer.store.get()));
  }

  /** Show a new model. A link to a point shows that point; anything else walks. */
  async begin() {
    this.#followed = null;
    // The document shows the first frame already, unless its address names another.
    if (!$("first-frame").hidden && !("linked" in document.documentElement.dataset)) this.walk.position = 1;
    this.keysChanged();
    const { move, latent, speed } = this.#explorer.store.get();
    $("speed").value = String(speed);
    if (isCalm() || latent || move.some(Boolean)) {
      this.pause();
      await this.show(pointOf(this.#explorer.store.get()));
    } else {
      await new Promise((resolve) => {
        this.onFirst = resolve;
        this.play();
        setTimeout(resolve, 3000);
      });
    }
  }

  update(state, before) {
    $("speed").value = String(state.speed);
    const isOther = ["seed", "latent", "label", "truncation", "move"].some((name) => state[name] !== before[name]);
    this.keysChanged();
    if (isOther && !this.walk.isPlaying) this.show(pointOf(state));
  }

  /** Follow the path through the keys, unless it is the one that is followed: its frames are kept. */
  keysChanged() {
    const { model, directions, store } = this.#explorer;
    if (!model.z_dim) return;
    const { truncation, speed } = store.get();
    const isMoved = this.keys.some(({ move }) => move.some(Boolean)); // needs the directions
    const name = JSON.stringify([model.name, this.keys, truncation, speed, isMoved && directions.length]);
    this.#explorer.strip.render();
    if (name === this.#followed) return;
    this.#followed = name;
    const options = {
      steps: Math.round(RATE * speed),
      zDim: model.z_dim,
      directions,
      labelOf: (key) => this.#explorer.labelOf(key),
    };
    this.walk.follow(new Path(this.keys, options));
    $("position").max = String(this.walk.path.total - 1);
  }

  toggle() {
    if (this.walk.isPlaying) this.pause();
    else this.play();
  }

  play() {
    this.#isAtPoint = false;
    this.#point.clear();
    this.#explorer.wipe.toggle(false);
    this.walk.play();
    this.#showPlaying();
  }

  pause() {
    this.walk.pause();
    this.#showPlaying();
  }

  /** Show a point; the newest wins. Without one, what was chosen last. */
  show(point = pointOf(this.#explorer.store.get())) {
    this.#isAtPoint = true;
    return this.#point.ask(point);
  }

  /** Steer to a point: the walk rests. */
  steer(changes, options = { replace: true }) {
    this.pause();
    const before = this.#explorer.store.get();
    this.#explorer.store.set(changes, options);
    if (before === this.#explorer.store.get()) this.show(); // it was there, but the walk was shown
  }

  /** Make what is on the screen a key of the walk. */
  pin(point = this.#pinnable()) {
    const { pins } = this.#explorer.store.get();
    this.#explorer.store.set({ pins: [...pins, point] });
    this.#explorer.status.say(pins.length ? `${pins.length + 1} keys` : "Pinned. Pin one more for a walk.");
  }

  /** While it walks, the nearest key; a frame in between has no seed. */
  #pinnable() {
    if (!this.walk.isPlaying) return pointOf(this.#explorer.store.get());
    return this.walk.path.keys[this.walk.path.at(this.walk.position).nearest];
  }

  #common() {
    return { model: this.#explorer.model.name, truncation: this.#explorer.store.get().truncation };
  }

  async #samplePoint(point) {
    const request = this.#explorer.requestOf(point);
    const isStale = () => !this.#isAtPoint || request.model !== this.#explorer.model.name;
    const pixels = await this.#explorer.sample(request, isStale);
    if (!pixels) return;
    this.#paint(pixels);
    this.#shown = request;
    this.#explorer.wipe.refresh();
    const label = this.#explorer.labelOf(point);
    this.#say(`${capitalized(nameOf(point))}${label === null ? "" : ` · ${label}`}`, pixels);
  }

  #showFrame(index, pixels) {
    const { path } = this.walk;
    const { from, to, t } = path.at(index);
    this.#paint(pixels);
    this.#shown = t === 0 ? this.#explorer.requestOf(path.keys[from]) : path.request([index], this.#common());
    this.#explorer.wipe.refresh();
    $("position").value = String(index);
    const [a, b] = [path.keys[from], path.keys[to]];
    const labels = [path.labels[from], path.labels[to]];
    const isCut = t > 0 && labels[0] !== labels[1];
    const label = isCut ? ` · ${labels[0]}, then ${labels[1]}: the label changes halfway` : labels[0] && ` · ${labels[0]}`;
    const place = capitalized(t === 0 ? nameOf(a) : `${nameOf(a)} → ${b.latent ? "latent" : b.seed}`);
    this.#say(`${place}${label || ""}`, pixels);
    $("position").setAttribute("aria-valuetext", t === 0 ? place : `${Math.round(t * 100)} % from ${nameOf(a)} to ${nameOf(b)}`);
    this.#explorer.strip.mark(from + t);
  }

  #paint(pixels) {
    paint(this.#canvas, pixels);
    this.#canvas.classList.add("painted");
    $("first-frame").hidden = true;
    this.#fitScreen();
    this.onFirst?.();
    this.onFirst = null;
  }

  #say(text, { milliseconds }) {
    const { model } = this.#explorer;
    if ($("caption").textContent !== text) {
      $("caption").textContent = text;
      this.#canvas.setAttribute("aria-label", text);
    }
    // Numbers that change thirty times a second cannot be read.
    const now = performance.now();
    if (this.walk.isPlaying && now - (this.said ?? 0) < 500) return;
    this.said = now;
    const time = milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds);
    const precision = model.precision ?? this.#explorer.details?.precision;
    const device = this.#explorer.details?.device ?? model.device;
    $("numbers").textContent = [`${time} ms`, precision, device].filter(Boolean).join(" · ");
  }

  /** The largest whole number of screen pixels for a pixel. */
  #fitScreen() {
    const size = this.#canvas.classList.contains("painted") ? this.#canvas.width : this.#explorer.model.img_resolution;
    if (!size) return;
    const room = $("screen").clientWidth;
    const scale = Math.max(1, Math.floor((room * devicePixelRatio) / size)) / devicePixelRatio;
    const side = `${scale * size}px`;
    for (const picture of [this.#canvas, $("first-frame")]) picture.style.width = picture.style.height = side;
  }

  #showPlaying() {
    const { isPlaying } = this.walk;
    $("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    $("play").replaceChildren(icon(isPlaying ? ICONS.pause : ICONS.play));
  }
}

function capitalized(text) {
  return text[0].toUpperCase() + text.slice(1);
}
