// The explorer of scores: histogram, counts, scatter and frames that follow one threshold. One plain module, no build step.
// A notebook calls `render` through anywidget; the page of the report calls `startPage` with the same data packed inside it.
// Names come from data: they enter the page as text nodes and attributes only, never as markup.

const BINS = 80;
const FRAMES_A_PAGE = 12;
const STRETCH = 14; // log-odds at the ends of the stretched axis; scores beyond are drawn at its ends
const LEFT = 52, RIGHT = 14, TOP = 10, BOTTOM = 34; // pixels around a plot
const CLASSES = ["attack", "bona fide"]; // by label

// ---------------------------------------------------------------------------------------------------------------- data

/** Header and arrays from the bytes that `fasnb.lab.explorer.pack` wrote. */
export function unpack(view) {
  const buffer = view.buffer, start = view.byteOffset;
  const length = view.getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, start + 4, length)));
  const part = ([at, size]) => buffer.slice(start + 4 + length + at, start + 4 + length + at + size);
  data.label = new Int8Array(part(data.label));
  data.attack = new Int8Array(part(data.attack));
  data.subject = new Int32Array(part(data.subject));
  data.deviation = doubles(part(data.deviation));
  const scores = doubles(part(data.scores));
  data.count = data.label.length;
  data.scores = data.methods.map((_, m) => scores.subarray(m * data.count, (m + 1) * data.count));
  data.pictures = new Map(data.pictures.map(([frame, ...place]) => [frame, new Uint8Array(part(place))]));
  return data;
}

/** Doubles whose first bytes stand together, then their second bytes, and so on: so they compress to half the size. */
function doubles(buffer) {
  const planes = new Uint8Array(buffer), n = planes.length / 8, bytes = new Uint8Array(8 * n);
  for (let b = 0; b < 8; b++) for (let i = 0; i < n; i++) bytes[8 * i + b] = planes[b * n + i];
  return new Float64Array(bytes.buffer);
}

const pictureUrl = (bytes) => `data:image/webp;base64,${btoa(String.fromCharCode(...bytes))}`;

// ------------------------------------------------------------------------------------- metrics, as in fasnb.metrics.pad

/** Largest count of accepted attack frames with count / attacks <= fpr. */
export function allowedAttacks(fpr, attacks) {
  let count = Math.floor(fpr * attacks);
  if ((count + 1) / attacks <= fpr) count += 1;
  return count / attacks > fpr ? count - 1 : count;
}

/** The next larger double. */
export function nextUp(x) {
  if (x === Infinity) return x;
  const value = new Float64Array([x === 0 ? 0 : x]), bits = new BigInt64Array(value.buffer);
  bits[0] += value[0] < 0 ? -1n : 1n;
  return value[0];
}

/** The lowest threshold at which at most the allowed attack frames are accepted; a frame is accepted at score >= threshold. */
export function thresholdAtFpr(sortedAttacks, fpr) {
  const n = sortedAttacks.length, allowed = allowedAttacks(fpr, n);
  return allowed >= n ? -Infinity : nextUp(sortedAttacks[n - 1 - allowed]);
}

/** The `count` frames with the smallest keys in order, equal keys in the order given. */
export function smallest(frames, key, count) {
  const keys = new Float64Array(frames.length), best = []; // places in `frames`
  for (let k = 0; k < keys.length; k++) keys[k] = key(frames[k]);
  if (count > 500) best.push(...keys.keys()), best.sort((a, b) => keys[a] - keys[b]);
  else for (let k = 0; k < keys.length; k++) {
    if (best.length === count && !(keys[k] < keys[best[count - 1]])) continue;
    let at = best.length;
    while (at > 0 && keys[best[at - 1]] > keys[k]) at -= 1;
    best.splice(at, 0, k);
    if (best.length > count) best.pop();
  }
  return best.slice(0, count).map((k) => frames[k]);
}

// ----------------------------------------------------------------------------------------------------------------- page

/** An element; what comes from data is safe as attribute and as child. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function select(label, testid, options, chosen) {
  const box = h("select", { "data-testid": testid });
  const groups = new Map();
  for (const [value, text, group] of options) {
    if (group && !groups.has(group)) box.append(groups.set(group, h("optgroup", { label: group })).get(group));
    (groups.get(group) ?? box).append(h("option", { value }, text));
  }
  box.value = chosen;
  return { box, field: h("label", {}, label, box) };
}

const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(2)}%` : "none here");
const whole = (n) => n.toLocaleString("en");

/** A field of a CSV file. Text that a spreadsheet would take for a formula begins with an apostrophe. */
export function csvField(value) {
  if (typeof value === "number") return String(value);
  const text = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(value) ? `'${value}` : value;
  return `"${text.replaceAll('"', '""')}"`;
}

// ------------------------------------------------------------------------------------------------------------- explorer

class Explorer {
  /** `model` as of anywidget; one without `send` has no kernel behind it. */
  constructor(root, model) {
    this.root = root;
    this.model = model;
    this.data = unpack(model.get("data"));
    this.sorted = []; // method -> its attack scores, ascending
    this.method = this.data.chosen;
    this.page = 0;
    this.picked = null; // set of frames, or null: no selection
    this.shown = -1; // the frame that pointer or focus is on
    const all = this.data.scores.flatMap((s) => [s.reduce((a, b) => Math.min(a, b)), s.reduce((a, b) => Math.max(a, b))]);
    this.low = Math.min(0, ...all);
    this.high = Math.max(1, ...all);
    this.wanted = new Set(); // frames whose pictures the kernel was asked for
    const main = this.data.methods.map((_, m) => m).filter((m) => this.data.methods[m].kind === "method");
    this.compared = main.length > 1 ? main : this.data.methods.map((_, m) => m); // the methods that errors are compared of
    this.build();
    this.setTarget(this.data.fpr);
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.plots);
    if (model.send) model.on("msg:custom", (this.answer = (message, buffers) => this.receive(message, buffers)));
  }

  close() {
    this.resized.disconnect();
    if (this.answer) this.model.off("msg:custom", this.answer);
  }

  // ------------------------------------------------------------------------------------------------------ its elements

  build() {
    const { data } = this, groups = { method: "methods", network: "single networks" };
    const methods = data.methods.map((m) => [m.name, m.title, groups[m.kind]]);
    const attacks = Object.keys(data.attacks).map((k) => [k, data.attacks[k]]);
    const make = (key, ...args) => ((this[key] = select(...args)), this[key].field);
    this.threshold = h("input", { type: "number", step: "any", "data-testid": "threshold" });
    this.stretch = h("input", { type: "checkbox", "data-testid": "stretch" });
    this.stretch.disabled = this.low < 0 || this.high > 1;
    const controls = h("div", { class: "controls" },
      make("methodBox", "Method", "method", methods, data.methods[this.method].name),
      make("target", "Target FPR, all methods", "target-fpr", [["", "own threshold"], ...data.fprs.map(([v, t]) => [String(v), t])], ""),
      h("label", {}, "Threshold of this method", this.threshold),
      make("against", "Scatter against", "against", [["", "disagreement"], ...methods], ""),
      h("label", { class: "check" }, this.stretch, "stretch the ends"));
    const filters = h("div", { class: "controls" },
      make("byClass", "Class", "filter-class", [["", "both"], ["1", "bona fide"], ["0", "attack"]], ""),
      make("byAttack", "Attack", "filter-attack", [["", attacks.length ? "all" : "not known here"], ...attacks], ""),
      make("bySubject", "Subject", "filter-subject", [["", data.subjects.length ? "all" : "not known here"], ...data.subjects.map((s, k) => [String(k), s])], ""),
      make("byError", "Errors", "filter-error", [["", "right and wrong"], ["any", "some method errs"], ["split", "methods disagree"], ...data.methods.map((m, k) => [`wrong ${k}`, `${m.title} errs`, groups[m.kind]])], ""),
      make("sort", "Order", "sort", [["disagreement", "most disagreed first"], ["distance", "nearest to the threshold first"], ["error", "largest error of the method first"]], "disagreement"));
    this.byAttack.box.disabled = !attacks.length;
    this.bySubject.box.disabled = !data.subjects.length;

    this.canvases = ["histogram", "scatter"].map((name) => h("canvas", { "data-testid": name, class: name, role: "img" }));
    this.overlay = h("canvas", { class: "overlay", "aria-hidden": "true" });
    this.handle = h("div", { class: "handle", "data-testid": "handle", role: "slider", tabindex: "0", "aria-label": "threshold; arrow keys move it, with shift in small steps", "aria-valuemin": this.low, "aria-valuemax": this.high });
    this.plots = h("div", { class: "plots" }, ...this.canvases, this.overlay, this.handle);
    this.numbers = h("div", { class: "numbers" });
    this.heading = h("p", { class: "heading", "aria-live": "polite", "data-testid": "heading" });
    this.clear = h("button", { type: "button", "data-testid": "clear" }, "Clear the selection");
    this.previous = h("button", { type: "button", "data-testid": "previous" }, "Previous");
    this.next = h("button", { type: "button", "data-testid": "next" }, "Next");
    this.export = h("button", { type: "button", "data-testid": "export" }, "Export as CSV");
    this.grid = h("div", { class: "grid" });
    this.root.classList.add("fasnb-explorer");
    this.root.replaceChildren(h("style", {}, STYLE), controls, h("div", { class: "views" }, this.plots, this.numbers), filters,
      h("div", { class: "bar" }, this.heading, this.clear, this.previous, this.next, this.export), this.grid);
    this.listen();
  }

  listen() {
    const on = (element, events, act) => events.split(" ").forEach((event) => element.addEventListener(event, act));
    on(this.methodBox.box, "change", (e) => { this.method = e.target.selectedIndex; this.restart(); });
    on(this.target.box, "change", (e) => { if (e.target.value !== "") this.setTarget(Number(e.target.value)); });
    on(this.threshold, "input change", (e) => { if (e.target.value !== "") this.setThreshold(Number(e.target.value), true); });
    for (const { box } of [this.against, this.byClass, this.byAttack, this.bySubject, this.byError, this.sort]) on(box, "change", () => this.restart());
    on(this.stretch, "change", () => this.draw());
    on(this.clear, "click", () => this.pick(null));
    on(this.previous, "click", () => this.turn(-1));
    on(this.next, "click", () => this.turn(1));
    on(this.export, "click", () => this.save());
    on(this.handle, "pointerdown", (e) => { this.handle.setPointerCapture(e.pointerId); this.handle.focus(); e.preventDefault(); });
    on(this.handle, "pointermove", (e) => { if (this.handle.hasPointerCapture(e.pointerId)) this.setThreshold(this.value(this.at(e)[0])); });
    on(this.handle, "keydown", (e) => this.step(e));
    on(this.canvases[0], "pointerdown", (e) => this.setThreshold(this.value(this.at(e)[0])));
    on(this.canvases[1], "pointerdown", (e) => { this.canvases[1].setPointerCapture(e.pointerId); this.brush = { from: this.at(e), to: this.at(e) }; e.preventDefault(); });
    on(this.canvases[1], "pointermove", (e) => { if (this.brush) { this.brush.to = this.at(e); this.drawOverlay(); } });
    on(this.canvases[1], "pointerup pointercancel", (e) => this.brushed(e));
  }

  // ---------------------------------------------------------------------------------------------------- what one changes

  /** Threshold of every method at which at most a share of all attack frames is accepted, whatever the filters are. */
  setTarget(fpr) {
    const { data } = this;
    this.thresholds = data.scores.map((scores, m) => {
      this.sorted[m] ??= scores.filter((_, i) => data.label[i] === 0).sort();
      return thresholdAtFpr(this.sorted[m], fpr);
    });
    this.target.box.value = String(fpr);
    this.draw();
  }

  setThreshold(value, typed = false) {
    if (Number.isNaN(value)) return;
    this.thresholds[this.method] = value;
    this.target.box.value = "";
    this.draw(typed);
  }

  step(event) {
    const [left, right] = [this.low, this.high].map((x) => this.place(x)), now = this.place(this.thresholds[this.method]);
    const far = event.shiftKey ? 0.001 : 0.01;
    const moves = { ArrowLeft: -far, ArrowDown: -far, ArrowRight: far, ArrowUp: far, Home: -2, End: 2 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.setThreshold(this.value(Math.min(right, Math.max(left, now + moves[event.key] * (right - left)))));
  }

  restart() {
    this.page = 0;
    this.draw();
  }

  turn(pages) {
    this.page += pages;
    this.draw();
  }

  pick(frames) {
    this.picked = frames && frames.length ? new Set(frames) : null;
    this.model.set("picked", this.picked ? [...this.picked] : []);
    this.model.save_changes();
    this.restart();
  }

  /** The end of a brush over the scatter: the frames in it, or the one nearest to a click. */
  brushed(event) {
    if (!this.brush) return;
    const { from, to } = this.brush;
    this.brush = null;
    const [x0, x1] = [from[0], to[0]].sort((a, b) => a - b), [y0, y1] = [from[1], to[1]].sort((a, b) => a - b);
    const distance = (i) => Math.hypot(this.x(i) - to[0], this.y(i) - to[1]);
    if (event.type === "pointercancel") this.drawOverlay();
    else if (x1 - x0 > 4 || y1 - y0 > 4) this.pick(this.passing.filter((i) => this.x(i) >= x0 && this.x(i) <= x1 && this.y(i) >= y0 && this.y(i) <= y1));
    else this.pick(smallest(this.passing, distance, 1).filter((i) => distance(i) < 12));
  }

  // ------------------------------------------------------------------------------------------------------------- its state

  accepts(m, i) {
    return this.data.scores[m][i] >= this.thresholds[m];
  }

  errs(m, i) {
    return this.accepts(m, i) !== (this.data.label[i] === 1);
  }

  /** How far a frame is on the wrong side of the chosen method's threshold; negative where it is right. */
  error(i) {
    const above = this.data.scores[this.method][i] - this.thresholds[this.method];
    return this.data.label[i] === 1 ? -above : above;
  }

  /** Frames that pass the filters, counts of them, and the frames of this page. */
  derive() {
    const { data, method } = this, { label, attack } = data, score = data.scores[method], threshold = this.thresholds[method];
    this.passing = this.filtered();
    this.counts = { accepted: [0, 0], all: [0, 0], attacks: {} };
    for (const i of this.passing) {
      const yes = score[i] >= threshold ? 1 : 0;
      this.counts.accepted[label[i]] += yes;
      this.counts.all[label[i]] += 1;
      if (label[i] === 0 && attack[i] > 0) {
        const row = (this.counts.attacks[attack[i]] ??= [0, 0]);
        row[0] += yes;
        row[1] += 1;
      }
    }
    this.listed = this.picked ? this.passing.filter((i) => this.picked.has(i)) : this.passing;
    this.page = Math.max(0, Math.min(this.page, Math.ceil(this.listed.length / FRAMES_A_PAGE) - 1));
    this.frames = this.ordered((this.page + 1) * FRAMES_A_PAGE).slice(this.page * FRAMES_A_PAGE);
  }

  /** The frames that pass the filters; the same array as before where neither a filter nor a threshold that it asks for moved. */
  filtered() {
    const { data } = this, { label, attack, subject } = data, error = this.byError.box.value;
    const chosen = [this.byClass, this.byAttack, this.bySubject].map(({ box }) => box.value);
    const asked = [...chosen, error, ...(error ? this.thresholds : [])].join();
    if (asked === this.asked) return this.passing;
    this.asked = asked;
    const [cls, kind, who] = chosen.map((value) => (value === "" ? null : Number(value)));
    const compared = this.compared, first = compared[0], only = Number(error.split(" ")[1]);
    const keeps = {
      "": () => true,
      any: (i) => compared.some((m) => this.errs(m, i)),
      split: (i) => compared.some((m) => this.errs(m, i) !== this.errs(first, i)),
    }[error] ?? ((i) => this.errs(only, i));
    const found = new Int32Array(data.count);
    let n = 0;
    for (let i = 0; i < data.count; i++) {
      if ((cls === null || label[i] === cls) && (kind === null || attack[i] === kind) && (who === null || subject[i] === who) && keeps(i)) found[n++] = i;
    }
    return found.slice(0, n);
  }

  ordered(count) {
    const { data, method } = this, score = data.scores[method], threshold = this.thresholds[method];
    const key = {
      disagreement: (i) => -data.deviation[i],
      distance: (i) => Math.abs(score[i] - threshold),
      error: (i) => -this.error(i),
    }[this.sort.box.value];
    return smallest(this.listed, key, count);
  }

  // -------------------------------------------------------------------------------------------------------------- drawing

  draw(typed = false) {
    const started = performance.now();
    this.from = this.place(this.low);
    this.span = this.place(this.high) - this.from;
    this.derive();
    if (!typed) this.threshold.value = Number.isFinite(this.thresholds[this.method]) ? this.thresholds[this.method] : "";
    if (this.plots.clientWidth) this.drawPlots(); // not where it is hidden
    this.drawNumbers();
    this.drawGrid();
    this.root.dataset.redrawMs = (performance.now() - started).toFixed(1);
  }

  drawPlots() {
    this.drawHistogram();
    this.drawScatter();
    this.drawOverlay();
  }

  /** Where a score lies on the axis, and the score at a place of it. Stretched, the axis is of log-odds. */
  place(score) {
    if (!this.stretch.checked) return score;
    return score <= 0 ? -STRETCH : score >= 1 ? STRETCH : Math.max(-STRETCH, Math.min(STRETCH, Math.log(score / (1 - score))));
  }

  share(score) {
    return Math.max(0, Math.min(1, (this.place(score) - this.from) / this.span));
  }

  value(place) {
    if (!this.stretch.checked) return place;
    return place <= -STRETCH ? 0 : place >= STRETCH ? 1 : 1 / (1 + Math.exp(-place));
  }

  /** Pointer -> place on the score axis, and pixels within the plots: [place, y] for the handle, [x, y] for the scatter. */
  at(event) {
    const box = this.plots.getBoundingClientRect(), x = event.clientX - box.left;
    if (event.currentTarget === this.canvases[1]) return [x, event.clientY - this.canvases[1].getBoundingClientRect().top];
    const [low, high] = [this.place(this.low), this.place(this.high)];
    return [low + Math.max(0, Math.min(1, (x - LEFT) / (box.width - LEFT - RIGHT))) * (high - low), 0];
  }

  x(i) {
    return LEFT + this.share(this.data.scores[this.method][i]) * (this.width - LEFT - RIGHT);
  }

  /** Height of a frame in the scatter: its disagreement, or the score of the other method. */
  y(i) {
    const other = this.other, up = other < 0 ? this.data.deviation[i] / this.mostDeviation : this.share(this.data.scores[other][i]);
    return this.height - BOTTOM - up * (this.height - TOP - BOTTOM);
  }

  /** A cleared canvas of the plots' width, axes of scores below it; its context draws in CSS pixels. */
  prepare(canvas) {
    const ratio = window.devicePixelRatio || 1, width = this.plots.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = context.strokeStyle = "#444";
    return [context, width, height];
  }

  axes(context, width, height, below, beside, marks) {
    const ticks = this.stretch.checked ? [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999] : this.low < 0 || this.high > 1 ? [this.low, this.high] : [0, 0.2, 0.4, 0.6, 0.8, 1];
    context.textAlign = "center";
    for (const tick of ticks) {
      const x = LEFT + this.share(tick) * (width - LEFT - RIGHT);
      context.fillRect(x, height - BOTTOM, 1, 4);
      context.fillText(String(Number(tick.toPrecision(6))), x, height - BOTTOM + 16);
    }
    context.fillText(below, (LEFT + width - RIGHT) / 2, height - 3);
    context.textAlign = "right";
    for (const [up, text] of marks) context.fillText(text, LEFT - 6, height - BOTTOM - up * (height - TOP - BOTTOM) + 4);
    context.fillRect(LEFT, height - BOTTOM, width - LEFT - RIGHT, 1);
    context.fillRect(LEFT - 1, TOP, 1, height - TOP - BOTTOM);
    context.save();
    context.translate(11, (height - BOTTOM + TOP) / 2);
    context.rotate(-Math.PI / 2);
    context.textAlign = "center";
    context.fillText(beside, 0, 0);
    context.restore();
  }

  drawHistogram() {
    const [context, width, height] = this.prepare(this.canvases[0]), { data } = this, { title } = data.methods[this.method];
    const bins = [new Uint32Array(BINS), new Uint32Array(BINS)];
    for (const i of this.passing) bins[data.label[i]][Math.min(BINS - 1, Math.floor(this.share(data.scores[this.method][i]) * BINS))] += 1;
    const most = Math.log10(1 + Math.max(1, ...bins[0], ...bins[1])), step = (width - LEFT - RIGHT) / BINS;
    const up = (n) => (Math.log10(1 + n) / most) * (height - TOP - BOTTOM), floor = height - BOTTOM;
    const marks = [0, 1, 10, 100, 1000, 10000, 100000].filter((n) => up(n) <= up(10 ** most - 1)).map((n) => [Math.log10(1 + n) / most, whole(n)]);
    context.fillStyle = data.colours["bona fide"] + "b0"; // bona fide as areas, attacks as an outline: told apart without colour
    bins[1].forEach((n, b) => n && context.fillRect(LEFT + b * step, floor - up(n), step, up(n)));
    context.strokeStyle = data.colours.attack;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(LEFT, floor);
    bins[0].forEach((n, b) => [b, b + 1].forEach((edge) => context.lineTo(LEFT + edge * step, floor - up(n))));
    context.lineTo(LEFT + BINS * step, floor);
    context.stroke();
    context.fillStyle = "#444";
    this.axes(context, width, height, `score of ${title}`, "frames", marks);
    this.canvases[0].setAttribute("aria-label", `histogram of the scores of ${title}: ${this.counts.all[1]} bona fide and ${this.counts.all[0]} attack frames; a click sets the threshold`);
  }

  drawScatter() {
    const canvas = this.canvases[1], { data } = this;
    this.other = data.methods.findIndex((m) => m.name === this.against.box.value);
    this.mostDeviation = data.deviation.reduce((a, b) => Math.max(a, b), 1e-12);
    this.width = this.plots.clientWidth;
    this.height = canvas.clientHeight;
    const made = [this.passing, this.method, this.other, this.width, this.stretch.checked, window.devicePixelRatio];
    if (made.every((value, k) => value === this.made?.[k])) return; // a moved threshold moves no point
    this.made = made;
    const [context, width, height] = this.prepare(canvas), beside = this.other < 0 ? "disagreement" : `score of ${data.methods[this.other].title}`;
    this.points(context, canvas);
    const top = this.other < 0 ? this.mostDeviation : this.high, marks = [[0, this.other < 0 ? "0" : String(this.low)], [1, String(Number(top.toPrecision(2)))]];
    this.axes(context, width, height, `score of ${data.methods[this.method].title}`, beside, marks);
    canvas.setAttribute("aria-label", `scatter of ${this.passing.length} frames, score of ${data.methods[this.method].title} against ${beside}; drag over it to select frames, click to select one`);
  }

  /** Bona fide frames as squares, attacks as crosses, denser where they lie on each other; pixel by pixel, as there may be many. */
  points(context, canvas) {
    const image = context.createImageData(canvas.width, canvas.height), words = new Uint32Array(image.data.buffer), { data } = this;
    const ratio = window.devicePixelRatio || 1, arm = Math.round(2 * ratio), colours = CLASSES.map((name) => data.colours[name]).map((c) => parseInt(c.slice(5, 7) + c.slice(3, 5) + c.slice(1, 3), 16));
    const dot = (x, y, colour) => {
      const at = y * image.width + x;
      words[at] = (Math.min(255, (words[at] >>> 24) + 130) << 24) | colour;
    };
    for (const i of this.passing) {
      const x = Math.round(this.x(i) * ratio), y = Math.round(this.y(i) * ratio), colour = colours[data.label[i]];
      for (let k = -arm; k <= arm; k++) {
        if (data.label[i]) for (let l = 1 - arm; l < arm; l++) k > -arm && k < arm && dot(x + l, y + k, colour);
        else { dot(x + k, y, colour); if (k) dot(x, y + k, colour); }
      }
    }
    context.putImageData(image, 0, 0);
  }

  drawOverlay() {
    const [context] = this.prepare(this.overlay), { data } = this, down = this.canvases[1].offsetTop;
    const threshold = this.thresholds[this.method], x = LEFT + this.share(threshold) * (this.width - LEFT - RIGHT);
    context.strokeStyle = "#000";
    context.setLineDash([5, 3]);
    context.beginPath();
    context.moveTo(x, TOP);
    context.lineTo(x, down + this.height - BOTTOM);
    if (this.other >= 0) {
      const y = down + this.height - BOTTOM - this.share(this.thresholds[this.other]) * (this.height - TOP - BOTTOM);
      context.moveTo(LEFT, y);
      context.lineTo(this.width - RIGHT, y);
    }
    context.stroke();
    context.setLineDash([]);
    const marked = new Set([...(this.picked && this.picked.size <= 500 ? this.listed : this.frames), this.shown]);
    for (const i of marked) {
      if (i < 0) continue;
      context.lineWidth = i === this.shown ? 3 : 1;
      context.beginPath();
      context.arc(this.x(i), down + this.y(i), i === this.shown ? 7 : 5, 0, 2 * Math.PI);
      context.stroke();
    }
    if (this.brush) {
      const { from, to } = this.brush;
      context.fillStyle = "#0002";
      context.fillRect(from[0], down + from[1], to[0] - from[0], to[1] - from[1]);
    }
    this.handle.style.left = `${x}px`;
    this.handle.setAttribute("aria-valuenow", Number.isFinite(threshold) ? threshold : this.low);
    this.handle.setAttribute("aria-valuetext", `${data.methods[this.method].title} accepts scores from ${threshold}`);
  }

  drawNumbers() {
    const { accepted, all, attacks } = this.counts, { data } = this;
    const row = (name, count, testid, rate, rateid) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { "data-testid": testid }, count), h("td", { "data-testid": rateid }, rate));
    const key = (label) => h("span", { class: `key ${CLASSES[label].replace(" ", "-")}`, style: `--colour: ${data.colours[CLASSES[label]]}` });
    const table = h("table", {}, h("caption", {}, this.passing.length === data.count ? `All ${whole(data.count)} frames` : `${whole(this.passing.length)} of ${whole(data.count)} frames pass the filters`),
      h("tr", {}, h("th", {}), h("th", { scope: "col" }, "frames"), h("th", { scope: "col" }, "rate")),
      row(h("span", {}, key(1), "bona fide"), String(all[1]), "bona-fide", "", null),
      row("accepted (TPR)", String(accepted[1]), "true-positives", percent(accepted[1], all[1]), "tpr"),
      row("refused (BPCER)", String(all[1] - accepted[1]), "false-negatives", percent(all[1] - accepted[1], all[1]), "bpcer"),
      row(h("span", {}, key(0), "attack"), String(all[0]), "attacks", "", null),
      row("accepted (FPR)", String(accepted[0]), "false-positives", percent(accepted[0], all[0]), "fpr"));
    const kinds = Object.keys(attacks);
    const apcer = kinds.length ? h("table", {}, h("caption", {}, "APCER by attack"),
      h("tr", {}, h("th", {}), h("th", { scope: "col" }, "accepted"), h("th", { scope: "col" }, "rate")),
      ...kinds.map((k) => row(data.attacks[k], `${attacks[k][0]} of ${attacks[k][1]}`, `accepted-${k}`, percent(...attacks[k]), `apcer-${k}`))) : h("p", {}, "The attack types of these frames are not known, so that APCER by attack cannot be given.");
    this.numbers.replaceChildren(table, apcer);
  }

  drawGrid() {
    const { data, page } = this, total = this.listed.length, pages = Math.max(1, Math.ceil(total / FRAMES_A_PAGE));
    this.heading.textContent = `${whole(total)} ${this.picked ? "selected frames" : "frames"}, page ${page + 1} of ${whole(pages)}`;
    this.clear.hidden = !this.picked;
    this.previous.disabled = page === 0;
    this.next.disabled = page >= pages - 1;
    this.export.disabled = !total;
    const missing = data.images && this.model.send ? this.frames.filter((i) => !data.pictures.has(i) && !this.wanted.has(i)) : [];
    if (missing.length) {
      missing.forEach((i) => this.wanted.add(i));
      this.model.send({ kind: "pictures", frames: missing });
    }
    if (this.tiles?.map(({ frame }) => frame).join() !== this.frames.join()) {
      this.tiles = this.frames.map((i) => this.tile(i));
      this.grid.replaceChildren(...this.tiles.map(({ element }) => element));
    }
    for (const { frame, rows } of this.tiles) rows.forEach((row, m) => this.judge(row, m, frame));
  }

  /** The verdict of a method on a frame, written where it changed. */
  judge(row, m, i) {
    const wrong = this.errs(m, i), verdict = (wrong ? "\u2717 " : "") + (this.accepts(m, i) ? "accepted" : "refused"), cell = row.lastChild;
    row.classList.toggle("chosen", m === this.method);
    if (cell.textContent === verdict) return;
    cell.textContent = verdict;
    cell.setAttribute("aria-label", verdict.replace("\u2717 ", "wrongly "));
    row.classList.toggle("wrong", wrong);
  }

  tile(i) {
    const { data } = this, sample = data.samples[i], cls = CLASSES[data.label[i]];
    const what = [data.attack[i] > 0 ? data.attacks[data.attack[i]] : cls, data.subject[i] >= 0 ? `subject ${data.subjects[data.subject[i]]}` : null].filter(Boolean).join("; ");
    const rows = data.methods.map((method, m) => h("tr", {}, h("th", { scope: "row", title: method.title }, method.title), h("td", { title: String(data.scores[m][i]) }, data.scores[m][i].toFixed(4)), h("td")));
    const tile = h("article", { class: `tile ${cls.replace(" ", "-")}`, "data-testid": "frame", "data-sample": sample, tabindex: "0", "aria-label": `${what}, ${sample}`, style: `--colour: ${data.colours[cls]}` },
      this.picture(i, sample), h("p", { class: "cameras", "aria-hidden": "true" }, ...data.cameras.map((name) => h("span", {}, name))), h("p", {}, h("b", {}, what)), h("p", { class: "sample", title: sample }, sample),
      h("p", {}, `disagreement ${data.deviation[i].toFixed(4)}`), h("div", { class: "verdicts" }, h("table", {}, ...rows)));
    for (const event of ["pointerenter", "focus"]) tile.addEventListener(event, () => { this.shown = i; this.drawOverlay(); });
    for (const event of ["pointerleave", "blur"]) tile.addEventListener(event, () => { this.shown = -1; this.drawOverlay(); });
    return { frame: i, rows, element: tile };
  }

  picture(i, sample) {
    const { data } = this, bytes = data.pictures.get(i);
    if (bytes) return h("img", { src: pictureUrl(bytes), alt: `${data.cameras.join(", ")} of ${sample}` });
    const asked = data.images && this.model.send;
    return h("p", { class: "none", "data-frame": i }, asked ? "…" : data.images ? "This page holds no picture of the frame; notebook 07 in JupyterLab shows it." : "No pictures are at hand.");
  }

  /** Pictures that the kernel sent: one buffer a frame, an empty one where the frame cannot be read. */
  receive(message, buffers) {
    if (message.kind !== "pictures") return;
    message.frames.forEach((i, k) => {
      const { buffer, byteOffset, byteLength } = buffers[k], place = this.grid.querySelector(`.none[data-frame="${i}"]`);
      if (byteLength) this.data.pictures.set(i, new Uint8Array(buffer, byteOffset, byteLength));
      if (place) place.replaceWith(byteLength ? this.picture(i, this.data.samples[i]) : h("p", { class: "none" }, "The picture is not on this machine."));
    });
  }

  /** The listed frames, all pages of them, in the order shown. */
  csv() {
    const { data } = this, head = ["sample", "class", "attack", "subject", "disagreement", ...data.methods.flatMap(({ name }) => [`${name} score`, `${name} verdict`])];
    const rows = this.ordered(this.listed.length).map((i) => [data.samples[i], CLASSES[data.label[i]], data.attack[i] >= 0 ? data.attack[i] : "", data.subject[i] >= 0 ? data.subjects[data.subject[i]] : "", data.deviation[i],
      ...data.methods.flatMap((_, m) => [data.scores[m][i], (this.accepts(m, i) ? "accepted" : "refused") + (this.errs(m, i) ? ", wrong" : "")])]);
    return [head, ...rows].map((row) => row.map(csvField).join(",") + "\r\n").join("");
  }

  save() {
    const url = URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" }));
    h("a", { href: url, download: "frames.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}

const STYLE = `
.fasnb-explorer { font: 13px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; padding: 6px; container-type: inline-size; }
.fasnb-explorer * { box-sizing: border-box; }
.fasnb-explorer p { margin: 0; }
.fasnb-explorer .controls, .fasnb-explorer .bar { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: end; margin: 6px 0; }
.fasnb-explorer label { display: flex; flex-direction: column; font-size: 12px; color: #444; }
.fasnb-explorer label.check { flex-direction: row; align-items: center; gap: 4px; padding-bottom: 4px; }
.fasnb-explorer select, .fasnb-explorer input[type=number], .fasnb-explorer button { font: inherit; font-size: 13px; color: #1a1a1a; background: #fff; border: 1px solid #888; border-radius: 3px; padding: 3px 6px; max-width: 15rem; }
.fasnb-explorer input[type=number] { width: 12.5rem; }
.fasnb-explorer button:disabled, .fasnb-explorer select:disabled { color: #767676; border-color: #ccc; }
.fasnb-explorer :focus-visible { outline: 2px solid #0072B2; outline-offset: 1px; }
.fasnb-explorer .views { display: grid; grid-template-columns: minmax(0, 1fr) 17rem; gap: 14px; }
.fasnb-explorer .plots { position: relative; }
.fasnb-explorer canvas { display: block; width: 100%; }
.fasnb-explorer .histogram { height: 190px; cursor: pointer; }
.fasnb-explorer .scatter { height: 250px; cursor: crosshair; touch-action: none; }
.fasnb-explorer .overlay { position: absolute; inset: 0; height: 100%; pointer-events: none; }
.fasnb-explorer .handle { position: absolute; top: 0; width: 17px; height: 160px; margin-left: -8px; cursor: ew-resize; touch-action: none; }
.fasnb-explorer .handle::before { content: ""; position: absolute; left: 3px; top: 2px; width: 11px; height: 16px; border-radius: 3px; background: #000; }
.fasnb-explorer table { border-collapse: collapse; width: 100%; margin: 0 0 10px; font-size: 12.5px; }
.fasnb-explorer caption { text-align: left; font-weight: 600; padding: 2px 0; caption-side: top; color: inherit; font-size: inherit; }
.fasnb-explorer th, .fasnb-explorer td { padding: 2px 4px; border-bottom: 1px solid #e4e4e4; text-align: right; font-weight: normal; background: none; }
.fasnb-explorer th:first-child { text-align: left; }
.fasnb-explorer .key { display: inline-block; width: 11px; height: 11px; margin-right: 5px; border: 2px solid var(--colour); }
.fasnb-explorer .key.bona-fide { background: var(--colour); }
.fasnb-explorer .heading { flex: 1; font-weight: 600; }
.fasnb-explorer .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 10px; }
.fasnb-explorer .tile { border: 1px solid #ccc; border-top: 4px solid var(--colour); border-radius: 4px; padding: 6px; min-width: 0; }
.fasnb-explorer .tile.attack { border-top-style: dashed; }
.fasnb-explorer .tile img { display: block; width: 100%; }
.fasnb-explorer .tile .none { color: #595959; font-size: 12px; min-height: 4em; background: #f4f4f4; padding: 6px; }
.fasnb-explorer .tile .sample { font-size: 11px; color: #595959; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; direction: rtl; text-align: left; unicode-bidi: plaintext; }
.fasnb-explorer .verdicts { max-height: 152px; overflow-y: auto; margin-top: 4px; contain: content; }
.fasnb-explorer .verdicts table { margin: 0; font-size: 12px; table-layout: fixed; white-space: nowrap; }
.fasnb-explorer .verdicts td:nth-child(2) { width: 22%; }
.fasnb-explorer .cameras { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; font-size: 11px; color: #595959; text-align: center; }
.fasnb-explorer .verdicts th { width: 44%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.fasnb-explorer .verdicts .wrong td:last-child { font-weight: 700; color: #a33f00; }
.fasnb-explorer .verdicts .chosen { background: #eef4f9; }
@container (max-width: 720px) { .fasnb-explorer .views { grid-template-columns: minmax(0, 1fr); } }
`;

// ------------------------------------------------------------------------------------------------- who calls the explorer

export default {
  /** anywidget calls this for every place in which the explorer is shown. */
  render({ model, el }) {
    const root = h("div");
    el.append(root);
    const explorer = new Explorer(root, model);
    return () => explorer.close();
  },
};

/** A page of its own: the data stand in it, compressed, as base64. */
export async function startPage(root, text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const view = new DataView(await new Response(stream).arrayBuffer());
  const nothing = () => {};
  new Explorer(root, { get: () => view, set: nothing, save_changes: nothing });
  if (window.parent === window) return;
  const tell = () => window.parent.postMessage({ fasnbHeight: document.documentElement.scrollHeight }, "*");
  new ResizeObserver(tell).observe(document.body);
}
