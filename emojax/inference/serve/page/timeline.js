// The whole session on a canvas as wide as the window: only what is in view is
// drawn. Above, how sure the shown emotion is; below, segments and their words.

const ZOOMS = [1, 3, 8, 16, 32, 64, 128]; // Pixels a second.
const WORDS = 64; // From here on each word stands at its time.
const LANES = { top: 8, floor: 100, text: 108, bottom: 164 };
const TICKS = [1, 2, 5, 10, 30, 60, 300, 600, 1800];

export class Timeline {
  // `colourOf` an emotion; `read` gets the window under the pointer.
  constructor(colourOf, read) {
    this.colourOf = colourOf;
    this.read = read;
    this.scroller = document.getElementById("scroller");
    this.canvas = document.getElementById("canvas");
    this.spacer = document.getElementById("spacer");
    this.latest = document.getElementById("latest");
    this.zoom = innerWidth < 700 ? 3 : 4;
    this.clear(1);
    this.scroller.addEventListener("scroll", () => this.scrolled());
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("click", (event) => this.point(event));
    this.latest.addEventListener("click", () => this.follow());
    const [out, in_] = ["out", "in"].map((id) => document.getElementById(id));
    out.addEventListener("click", () => this.scale(-1));
    in_.addEventListener("click", () => this.scale(1));
    this.buttons = [out, in_];
    new ResizeObserver(() => this.extend()).observe(this.scroller);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", () => this.draw());
  }

  clear(hop) {
    this.hop = hop;
    this.windows = [];
    this.segments = [];
    this.isFollowing = true;
    this.extend();
  }

  addWindow(window) {
    this.windows.push(window);
    this.extend();
  }

  addSegment(segment) {
    this.segments.push(segment);
    this.extend();
  }

  // Scrolls to a time, and stays there.
  show(seconds) {
    this.isFollowing = false;
    const width = this.scroller.clientWidth;
    this.scroller.scrollLeft = seconds * this.pixels - width / 3;
    this.scrolled();
  }

  get pixels() {
    return ZOOMS[this.zoom];
  }

  get seconds() {
    const ends = [this.windows, this.segments].map((all) => all.at(-1)?.end);
    return Math.max(0, ...ends.filter(Number.isFinite));
  }

  scale(step) {
    const half = this.scroller.clientWidth / 2;
    const middle = (this.scroller.scrollLeft + half) / this.pixels;
    const last = ZOOMS.length - 1;
    this.zoom = Math.min(last, Math.max(0, this.zoom + step));
    this.buttons[0].disabled = this.zoom === 0;
    this.buttons[1].disabled = this.zoom === last;
    this.extend();
    if (!this.isFollowing) {
      this.scroller.scrollLeft = middle * this.pixels - half;
    }
  }

  follow() {
    this.isFollowing = true;
    this.latest.hidden = true;
    this.scroller.focus();
    this.extend();
  }

  // Makes room for what was added, and shows it unless the user looks back.
  extend() {
    this.spacer.style.width = `${Math.ceil(this.seconds * this.pixels) + 24}px`;
    if (this.isFollowing) this.scroller.scrollLeft = this.spacer.offsetWidth;
    this.draw();
  }

  scrolled() {
    const { scrollLeft, clientWidth, scrollWidth } = this.scroller;
    this.isFollowing = scrollLeft + clientWidth >= scrollWidth - 24;
    this.latest.hidden = this.isFollowing;
    this.draw();
  }

  point(event) {
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const seconds = (x + this.scroller.scrollLeft) / this.pixels;
    const found = this.windows[this.before(this.windows, seconds)];
    if (found) this.read(found);
  }

  // Of a list in the order of its ends: the first that ends after a time.
  before(list, seconds) {
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle].end <= seconds) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.paint();
    });
  }

  paint() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    pen.scale(ratio, ratio);
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = "middle";
    const view = {
      pen,
      width,
      colour,
      start: this.scroller.scrollLeft / this.pixels,
      stop: (this.scroller.scrollLeft + width) / this.pixels,
      x: (seconds) => seconds * this.pixels - this.scroller.scrollLeft,
    };
    this.paintAxis(view);
    this.paintWindows(view);
    this.paintSegments(view);
  }

  paintAxis({ pen, width, colour, start, stop, x }) {
    const step = TICKS.find((ticks) => ticks * this.pixels >= 70) ?? 3600;
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--quiet");
    pen.lineWidth = 1;
    pen.beginPath();
    for (const lane of [LANES.top, LANES.floor]) {
      pen.moveTo(0, lane + 0.5);
      pen.lineTo(width, lane + 0.5);
    }
    for (let at = Math.ceil(start / step) * step; at <= stop; at += step) {
      pen.moveTo(Math.round(x(at)) + 0.5, LANES.top);
      pen.lineTo(Math.round(x(at)) + 0.5, LANES.bottom);
      pen.textAlign = at ? "center" : "left";
      pen.fillText(clock(at), x(at), LANES.bottom + 14);
    }
    pen.stroke();
    pen.textAlign = "left";
  }

  paintWindows({ pen, colour, start, stop, x }) {
    const gap = this.hop * this.pixels > 4 ? 1 : 0;
    for (let i = this.before(this.windows, start); i < this.windows.length; i++) {
      const { end, label, smoothed } = this.windows[i];
      const left = Math.max(0, end - this.hop);
      if (left > stop) break;
      const share = smoothed ? Math.max(...smoothed) : 0;
      const height = Math.max(3, share * (LANES.floor - LANES.top));
      pen.fillStyle = colour(smoothed ? this.colourOf(label) : "--track");
      const right = x(end) - gap;
      pen.fillRect(x(left), LANES.floor - height, right - x(left), height);
    }
  }

  paintSegments({ pen, colour, start, stop, x }) {
    const first = this.before(this.segments, start);
    for (let i = first; i < this.segments.length; i++) {
      const { start: from, end, emotion, words } = this.segments[i];
      if (from > stop) break;
      const [left, width] = [x(from), Math.max(2, x(end) - x(from) - 1)];
      const height = LANES.bottom - LANES.text;
      pen.fillStyle = colour("--track");
      pen.fillRect(left, LANES.text, width, height);
      pen.fillStyle = colour(this.colourOf(emotion));
      pen.fillRect(left, LANES.text, width, 4);
      pen.save();
      pen.beginPath();
      pen.rect(left, LANES.text, width, height);
      pen.clip();
      pen.fillStyle = colour("--ink");
      const inView = Math.max(left, 0) + 6;
      pen.fillText(emotion, inView, LANES.text + 18);
      pen.fillStyle = colour("--quiet");
      if (this.pixels < WORDS) {
        const text = words.map((word) => word.text).join(" ");
        pen.fillText(text, inView, LANES.text + 40);
      } else {
        for (const word of words) {
          pen.fillText(word.text, x(word.start), LANES.text + 40);
        }
      }
      pen.restore();
    }
  }
}

// 75 as `1:15`, with hours where there are any.
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60)];
  const end = two(whole % 60);
  return hours ? `${hours}:${two(minutes % 60)}:${end}` : `${minutes}:${end}`;
}
