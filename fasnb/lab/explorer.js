// The explorer of scores: histogram, counts, scatter and frames that follow one threshold. One plain module, no build.
// A notebook calls `render` through anywidget; the page of the report calls `startPage` with the same data inside it.
// Names come from data: they enter the page as text nodes and attributes only, never as markup.

const BINS = 80, FRAMES_A_PAGE = 12;
const STRETCH = 14; // log-odds at the ends of the stretched axis; scores beyond are drawn at its ends
const LEFT = 52, RIGHT = 14, TOP = 10, BOTTOM = 34; // pixels around a plot
const CLASSES = ["attack", "bona fide"]; // by label
const CHOICES = ["method", "against", "sort", "filter-class", "filter-attack", "filter-subject", "filter-error"];

const choice = (text, id) => `<label>${text}<select data-testid="${id}"></select></label>`;
const button = (text, id) => `<button type="button" data-testid="${id}">${text}</button>`;
const plot = (id, text) => `<canvas class="${id}" role="img" data-testid="${id}" aria-label="${text}"></canvas>`;
const counted = (text, count, rate) =>
  `<tr><th scope="row">${text}</th><td data-testid="${count}"></td><td data-testid="${rate}"></td></tr>`;

/** What the explorer consists of, without any data. Elements are found by their test ids. */
const PARTS = `
<div class="walks" role="group" aria-label="guided walks" data-testid="walks"></div>
<p class="look" aria-live="polite" data-testid="look"></p>
<div class="controls">
  ${choice("Method", "method")}${choice("Target FPR, all methods", "target-fpr")}
  <label>Threshold of this method<input type="number" step="any" data-testid="threshold"></label>
  ${choice("Scatter against", "against")}
  <label class="check"><input type="checkbox" data-testid="stretch">stretch the ends</label>
</div>
<div class="views"><div class="plots">
    ${plot("histogram", "histogram of the scores; a click sets the threshold")}
    ${plot("scatter", "scatter of the scores; drag over it to select frames, click to select one")}
    <div class="handle" role="slider" tabindex="0" data-testid="handle"
      aria-label="threshold; arrow keys move it, with shift in small steps"></div>
  </div><div>
    <table><caption data-testid="counted"></caption>
      <tr><th></th><th scope="col">frames</th><th scope="col">rate</th></tr>
      ${counted('<span class="key bona-fide"></span>bona fide', "bona-fide", "")}
      ${counted('accepted <span class="of-all">(TPR)</span>', "true-positives", "tpr")}
      ${counted('refused <span class="of-all">(BPCER)</span>', "false-negatives", "bpcer")}
      ${counted('<span class="key attack"></span>attack', "attacks", "")}
      ${counted('accepted <span class="of-all">(FPR)</span>', "false-positives", "fpr")}
    </table><table data-testid="by-attack"></table>
  </div>
</div><div class="controls">
  ${choice("Class", "filter-class")}${choice("Attack", "filter-attack")}${choice("Subject", "filter-subject")}
  ${choice("Errors", "filter-error")}${choice("Order", "sort")}
</div><div class="bar">
  <p class="heading" aria-live="polite" data-testid="heading"></p>
  ${button("Clear the selection", "clear")}${button("Previous", "previous")}${button("Next", "next")}
  ${button("Export as CSV", "export")}
</div><div class="grid" data-testid="grid"></div>`;

/** An element; what comes from data is safe as attribute and as child. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const percent = (part, whole) => (whole ? `${((100 * part) / whole).toFixed(2)}%` : "none here");
const grouped = (n) => n.toLocaleString("en");
/** A score for people, with the more digits the nearer it is to 0 or 1. */
const short = (n) => Number(n.toFixed(Math.min(15, 4 + Math.ceil(Math.max(0, -Math.log10(Math.abs(n - n * n) || 1))))));
const clip = (share) => Math.max(0, Math.min(1, share));

/** A field of a CSV file. Text that a spreadsheet would take for a formula begins with an apostrophe. */
const csvField = (value) => typeof value === "number" ? String(value)
  : `"${/^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(value) ? "'" : ""}${value.replaceAll('"', '""')}"`;

/** What `fasnb.lab.explorer.Explorer.packed` wrote: the header's values, and scores and deviation as arrays. */
function unpack(view) {
  const start = view.byteOffset + 4, end = start + view.getUint32(0, true);
  const data = JSON.parse(new TextDecoder().decode(new Uint8Array(view.buffer, start, end - start)));
  const n = data.label.length, rows = new Float64Array(view.buffer.slice(end, view.byteOffset + view.byteLength));
  const row = (k) => rows.subarray(k * n, (k + 1) * n);
  const scores = data.methods.map((_, m) => row(m));
  return { ...data, scores, deviation: row(scores.length), pictures: new Map(data.pictures) };
}

class Explorer {
  /** `model` as of anywidget; one without `send` has no kernel behind it. */
  constructor(root, model) {
    const data = unpack(model.get("data"));
    Object.assign(this, { root, model, data, method: data.chosen, page: 0, low: data.ends[0], high: data.ends[1] });
    this.picked = null; // set of frames, or null: no selection
    this.pointed = -1; // the frame that pointer or focus is on
    this.brush = null; // corners of the box that is being drawn in the scatter
    this.boxed = ""; // the two methods in whose scatter the selection was drawn
    this.build();
    this.listen();
    this.setTarget(data.fpr);
    this.resized = new ResizeObserver(() => this.draw());
    this.resized.observe(this.plots);
    if (model.send) model.on("msg:custom", (this.answer = (message) => this.receive(message)));
    this.clicked = ({ target }) => this.follow(target.closest?.("a[title]")?.title);
    document.addEventListener("click", this.clicked, true);
  }

  close() {
    this.resized.disconnect();
    document.removeEventListener("click", this.clicked, true);
    if (this.answer) this.model.off("msg:custom", this.answer);
  }

  build() {
    const { root, data } = this, methods = data.methods.map(({ name, title }) => [name, title]);
    root.classList.add("fasnb-explorer");
    root.innerHTML = PARTS;
    this.ui = Object.fromEntries([...root.querySelectorAll("[data-testid]")].map((e) => [e.dataset.testid, e]));
    this.plots = root.querySelector(".plots");
    for (const name of CLASSES) root.style.setProperty(`--${name.replace(" ", "-")}`, data.colours[name]);
    const some = (known) => [["", known.length ? "all" : "not known here"], ...known];
    const options = {
      method: methods,
      "target-fpr": [["", "own threshold"], ...data.fprs.map(([, name]) => [name, name])],
      against: [["", "disagreement"], ...methods],
      "filter-class": [["", "both"], [1, "bona fide"], [0, "attack"]],
      "filter-attack": some(Object.entries(data.attacks)),
      "filter-subject": some(data.subjects.map((name, k) => [k, name])),
      "filter-error": [["", "right and wrong"], ["any", "some method errs"], ["split", "methods disagree"],
        ...data.methods.map(({ title }, m) => [`wrong ${m}`, `${title} errs`])],
      sort: [["disagreement", "most disagreed first"], ["distance", "nearest to the threshold first"],
        ["error", "largest error of the method first"]],
    };
    for (const [id, list] of Object.entries(options)) {
      this.ui[id].append(...list.map(([value, text]) => h("option", { value }, text)));
      this.ui[id].disabled = list.length < 2;
    }
    this.ui.method.value = methods[this.method][0];
    this.ui.walks.append(...data.walks.map(({ title }) => h("button", { type: "button", value: title }, title)));
    this.ui.stretch.disabled = this.low < 0 || this.high > 1;
    Object.assign(this.ui.handle, { ariaValueMin: this.low, ariaValueMax: this.high });
  }

  listen() {
    const { ui, data } = this, on = (id, event, act) => ui[id].addEventListener(event, act);
    on("target-fpr", "change", (e) => e.target.value && this.setTarget(data.fprs[e.target.selectedIndex - 1][0]));
    on("threshold", "input", (e) => e.target.value !== "" && this.setThreshold(Number(e.target.value), true));
    for (const id of CHOICES) on(id, "change", () => { this.method = ui.method.selectedIndex; this.turn(-this.page); });
    for (const id of ["stretch", "threshold"]) on(id, "change", () => this.draw());
    on("walks", "click", (e) => this.follow(e.target.value));
    on("clear", "click", () => this.pick([]));
    for (const [id, by] of [["previous", -1], ["next", 1]]) on(id, "click", () => this.turn(by));
    on("export", "click", () => this.save());
    const hold = (e) => { e.target.setPointerCapture(e.pointerId); e.preventDefault(); };
    on("handle", "pointerdown", (e) => { hold(e); ui.handle.focus(); });
    on("handle", "pointermove", (e) => ui.handle.hasPointerCapture(e.pointerId) && this.setThreshold(this.scoreAt(e)));
    on("handle", "keydown", (e) => this.step(e));
    on("histogram", "pointerdown", (e) => this.setThreshold(this.scoreAt(e)));
    on("scatter", "pointerdown", (e) => { hold(e); this.brush = { from: this.pointAt(e), to: this.pointAt(e) }; });
    on("scatter", "pointermove", (e) => { if (this.brush) { this.brush.to = this.pointAt(e); this.drawScatter(); } });
    on("scatter", "pointerup", () => this.brushed());
    on("scatter", "pointercancel", () => { this.brush = null; this.drawScatter(); });
  }

  /** Begin the guided walk of this name, if there is one: every control as it says, or as at the beginning. */
  follow(title) {
    const { ui, data } = this, walk = data.walks.find((one) => one.title === title);
    if (!walk) return;
    const first = { method: data.methods[data.chosen].name, sort: "disagreement" };
    for (const id of CHOICES) ui[id].value = walk.controls[id] ?? first[id] ?? "";
    ui.stretch.checked = false;
    ui.look.textContent = walk.look;
    for (const one of ui.walks.children) one.ariaPressed = one.value === title;
    this.method = ui.method.selectedIndex;
    this.setTarget(data.fpr);
    this.pick(walk.frames);
  }

  /** Threshold of every method at which at most a share of all attack frames is accepted, whatever the filters are. */
  setTarget(fpr) {
    const { fprs, thresholds } = this.data, k = fprs.findIndex(([value]) => value === fpr);
    this.thresholds = thresholds[k].map((threshold) => threshold ?? -Infinity);
    this.targets = this.thresholds.map(() => fprs[k][1]);
    this.draw();
  }

  setThreshold(value, typed = false) {
    this.thresholds[this.method] = value;
    this.targets[this.method] = "";
    this.draw(typed);
  }

  step(event) {
    const far = event.shiftKey ? 0.001 : 0.01;
    const moves = { ArrowLeft: -far, ArrowDown: -far, ArrowRight: far, ArrowUp: far, Home: -2, End: 2 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.setThreshold(this.scoreOf(this.share(this.thresholds[this.method]) + moves[event.key]));
  }

  pick(frames, box = "") {
    this.picked = frames.length ? new Set(frames) : null;
    this.boxed = box;
    this.model.set("picked", frames);
    this.model.save_changes();
    this.turn(-this.page);
  }

  turn = (pages) => { this.page += pages; this.draw(); };

  /** The end of a brush over the scatter: the frames in it, or the one nearest to a click. */
  brushed() {
    if (!this.brush) return;
    const { from, to } = this.brush, passing = [...this.passing], of = `${this.method} ${this.other}`;
    this.brush = null;
    if (Math.abs(from[0] - to[0]) > 4 || Math.abs(from[1] - to[1]) > 4) {
      const between = (value, k) => value >= Math.min(from[k], to[k]) && value <= Math.max(from[k], to[k]);
      this.pick(passing.filter((i) => between(this.x(i), 0) && between(this.y(i), 1)), of);
    } else {
      const distance = (i) => Math.hypot(this.x(i) - to[0], this.y(i) - to[1]);
      const near = passing.filter((i) => distance(i) < 12);
      this.pick(near.sort((a, b) => distance(a) - distance(b)).slice(0, 1));
    }
  }

  accepts = (m, i) => this.data.scores[m][i] >= this.thresholds[m];
  errs = (m, i) => this.accepts(m, i) !== (this.data.label[i] === 1);

  /** Frames that pass the filters. */
  filtered() {
    const { data, ui } = this, { compared } = data, [kind, only] = ui["filter-error"].value.split(" ");
    const chosen = ["class", "attack", "subject"].map((name) => ui[`filter-${name}`].value);
    const is = (values, k, i) => chosen[k] === "" || values[i] === Number(chosen[k]);
    const keeps = {
      "": () => true,
      any: (i) => compared.some((m) => this.errs(m, i)),
      split: (i) => compared.some((m) => this.errs(m, i) !== this.errs(compared[0], i)),
      wrong: (i) => this.errs(only, i),
    }[kind];
    return [...data.label.keys()].filter(
      (i) => is(data.label, 0, i) && is(data.attack, 1, i) && is(data.subject, 2, i) && keeps(i));
  }

  /** Frames in the chosen order, equal ones in the order given. */
  ordered(frames) {
    const { label, deviation } = this.data, score = this.data.scores[this.method];
    const threshold = this.thresholds[this.method];
    const key = {
      disagreement: (i) => -deviation[i],
      distance: (i) => Math.abs(score[i] - threshold),
      error: (i) => (label[i] === 1 ? score[i] - threshold : threshold - score[i]), // negative on the wrong side
    }[this.ui.sort.value];
    return [...frames].sort((a, b) => key(a) - key(b) || a - b);
  }

  /** Where a score lies between the ends of the axis, in [0, 1]. Stretched, the axis is of log-odds. */
  share(score) {
    if (!this.ui.stretch.checked) return clip((score - this.low) / (this.high - this.low));
    return score <= 0 ? 0 : score >= 1 ? 1 : clip(0.5 + Math.log(score / (1 - score)) / (2 * STRETCH));
  }

  /** The score at a share of the axis. */
  scoreOf(share) {
    if (!this.ui.stretch.checked) return this.low + clip(share) * (this.high - this.low);
    return share <= 0 ? 0 : share >= 1 ? 1 : 1 / (1 + Math.exp(STRETCH * (1 - 2 * share)));
  }

  /** Place of a pointer in the scatter, in pixels; and the score below it, in both plots. */
  pointAt(event) {
    const box = this.ui.scatter.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  scoreAt = (event) => this.scoreOf((this.pointAt(event)[0] - LEFT) / (this.width - LEFT - RIGHT));

  // Pixels of a score from the left, and of a share of a plot's height from its top.
  across = (score) => LEFT + this.share(score) * (this.width - LEFT - RIGHT);
  down = (share, height) => height - BOTTOM - share * (height - TOP - BOTTOM);

  // Place of a frame in the scatter: its score, and above it its disagreement or the score of the other method.
  x = (i) => this.across(this.data.scores[this.method][i]);
  up = (i) => this.other < 0 ? this.data.deviation[i] / this.data.mostDeviation
    : this.share(this.data.scores[this.other][i]);
  y = (i) => this.down(this.up(i), this.ui.scatter.clientHeight);

  draw(typed = false) {
    const { ui } = this, threshold = this.thresholds[this.method];
    this.passing = this.filtered();
    this.listed = this.ordered(this.picked ? this.passing.filter((i) => this.picked.has(i)) : this.passing);
    this.pages = Math.max(1, Math.ceil(this.listed.length / FRAMES_A_PAGE));
    this.page = Math.max(0, Math.min(this.page, this.pages - 1));
    this.frames = this.listed.slice(this.page * FRAMES_A_PAGE, (this.page + 1) * FRAMES_A_PAGE);
    this.width = this.plots.clientWidth;
    this.other = ui.against.selectedIndex - 1;
    ui["target-fpr"].value = this.targets[this.method];
    if (!typed) ui.threshold.value = Number.isFinite(threshold) ? short(threshold) : "";
    ui.threshold.title = ui.threshold.dataset.exact = threshold;
    if (this.width) { this.drawHistogram(); this.drawScatter(); } // not where it is hidden
    ui.handle.style.left = `${this.across(threshold)}px`;
    ui.handle.ariaValueNow = Number.isFinite(threshold) ? short(threshold) : this.low;
    this.drawNumbers();
    this.drawGrid();
  }

  /** A cleared canvas; its context draws in CSS pixels. */
  prepare(canvas) {
    const ratio = window.devicePixelRatio || 1, height = canvas.clientHeight;
    canvas.width = Math.round(this.width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    return [context, height];
  }

  /** Axes of a plot: ticks of scores below, `marks` ([share, text]) and a name beside it; dashed the thresholds. */
  axes(context, height, beside, marks, level) {
    const ticks = this.ui.stretch.checked ? [1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
      : this.low < 0 || this.high > 1 ? [this.low, this.high] : [0, 0.2, 0.4, 0.6, 0.8, 1];
    context.strokeStyle = "#000";
    context.lineWidth = 1;
    context.setLineDash([5, 3]);
    const other = level ? `M${LEFT} ${this.down(level, height)}H${this.width - RIGHT}` : "";
    context.stroke(new Path2D(`M${this.across(this.thresholds[this.method])} ${TOP}V${height - BOTTOM}${other}`));
    context.font = "12px system-ui, sans-serif";
    context.fillStyle = "#444";
    context.fillRect(LEFT, height - BOTTOM, this.width - LEFT - RIGHT, 1);
    context.fillRect(LEFT - 1, TOP, 1, height - TOP - BOTTOM);
    context.textAlign = "right";
    for (const [share, text] of marks) context.fillText(text, LEFT - 6, this.down(share, height) + 4);
    context.textAlign = "center";
    for (const tick of ticks) context.fillText(Number(tick.toPrecision(6)), this.across(tick), height - BOTTOM + 16);
    context.fillText(`score of ${this.data.methods[this.method].title}`, this.width / 2, height - 3);
    context.rotate(-Math.PI / 2);
    context.fillText(beside, (BOTTOM - TOP - height) / 2, 11);
  }

  /** Bona fide as areas, attacks as an outline: told apart without colour. Counts are on a log axis. */
  drawHistogram() {
    const { label, scores, colours } = this.data, [context, height] = this.prepare(this.ui.histogram);
    const bins = [new Uint32Array(BINS), new Uint32Array(BINS)], step = (this.width - LEFT - RIGHT) / BINS;
    const bin = (score) => Math.min(BINS - 1, Math.floor(this.share(score) * BINS));
    for (const i of this.passing) bins[label[i]][bin(scores[this.method][i])] += 1;
    const most = Math.max(1, ...bins[0], ...bins[1]), up = (n) => Math.log10(1 + n) / Math.log10(1 + most);
    const floor = height - BOTTOM, top = (n) => this.down(up(n), height);
    context.fillStyle = colours["bona fide"] + "b0";
    bins[1].forEach((n, b) => context.fillRect(LEFT + b * step, top(n), step, floor - top(n)));
    context.strokeStyle = colours.attack;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(LEFT, floor);
    bins[0].forEach((n, b) => [b, b + 1].forEach((edge) => context.lineTo(LEFT + edge * step, top(n))));
    context.lineTo(LEFT + BINS * step, floor);
    context.stroke();
    const marks = [0, 1, 10, 100, 1000, 10000, 100000].filter((n) => n <= most).map((n) => [up(n), grouped(n)]);
    this.axes(context, height, "frames", marks);
  }

  /** Bona fide frames as squares, attacks as crosses, denser where they lie on each other; rings around listed ones. */
  drawScatter() {
    const { data, other, pointed, brush, ui } = this, [context, height] = this.prepare(ui.scatter);
    for (const i of this.passing) {
      const x = this.x(i), y = this.y(i);
      context.fillStyle = data.colours[CLASSES[data.label[i]]] + "80";
      for (const [wide, high] of data.label[i] ? [[3, 3]] : [[5, 1], [1, 5]])
        context.fillRect(x - wide / 2, y - high / 2, wide, high);
    }
    context.strokeStyle = "#000";
    const ringed = this.picked && this.picked.size <= 500 ? this.listed : this.frames;
    for (const i of pointed < 0 ? ringed : [...ringed, pointed]) {
      context.lineWidth = i === pointed ? 3 : 1;
      context.beginPath();
      context.arc(this.x(i), this.y(i), i === pointed ? 7 : 5, 0, 2 * Math.PI);
      context.stroke();
    }
    context.fillStyle = "#0002";
    if (brush) context.fillRect(...brush.from, brush.to[0] - brush.from[0], brush.to[1] - brush.from[1]);
    else if (this.picked && this.boxed === `${this.method} ${other}`) { // the box that was drawn, shrunk to its frames
      const [xs, ys] = [this.x, this.y].map((at) => [...this.picked].map(at)), x = Math.min(...xs), y = Math.min(...ys);
      context.fillRect(x - 7, y - 7, Math.max(...xs) - x + 14, Math.max(...ys) - y + 14);
    }
    const beside = other < 0 ? "disagreement" : `score of ${data.methods[other].title}`;
    const [least, most] = other < 0 ? [0, data.mostDeviation] : [this.low, this.high];
    const level = other < 0 ? 0 : this.share(this.thresholds[other]);
    this.axes(context, height, beside, [[0, short(least)], [1, Number(most.toPrecision(2))]], level);
  }

  /** Counts of the frames that pass the filters, at the threshold of the method. */
  drawNumbers() {
    const { data, passing, ui } = this, n = [0, 0], yes = [0, 0], kinds = {}, every = data.label.length;
    for (const i of passing) {
      const kind = (kinds[data.attack[i]] ??= [0, 0]), accepted = Number(this.accepts(this.method, i));
      n[data.label[i]] += 1;
      yes[data.label[i]] += accepted;
      kind[0] += accepted;
      kind[1] += 1;
    }
    const refused = n[1] - yes[1], part = passing.length < every;
    const texts = {
      counted: `${part ? `${grouped(passing.length)} of` : "All"} ${grouped(every)} frames`,
      "bona-fide": n[1], "true-positives": yes[1], tpr: percent(yes[1], n[1]), "false-negatives": refused,
      bpcer: percent(refused, n[1]), attacks: n[0], "false-positives": yes[0], fpr: percent(yes[0], n[0]),
    };
    for (const [id, text] of Object.entries(texts)) ui[id].textContent = text;
    this.root.classList.toggle("filtered", part); // the rates of a part of the frames have no name
    const rows = Object.keys(data.attacks).filter((k) => kinds[k]).map((k) => h("tr", {},
      h("th", { scope: "row" }, data.attacks[k]), h("td", { "data-testid": `accepted-${k}` }, kinds[k].join(" of ")),
      h("td", { "data-testid": `apcer-${k}` }, percent(...kinds[k]))));
    const caption = rows.length ? `${part ? "accepted" : "APCER"} by attack` : "Attack types are not known here.";
    ui["by-attack"].replaceChildren(h("caption", {}, caption), ...rows);
  }

  drawGrid() {
    const { data, page, pages, ui } = this, what = this.picked ? "selected frames" : "frames";
    const lost = !this.model.send && this.frames.some((i) => !data.pictures.get(i));
    const pictures = !data.images ? "; no pictures are at hand" : lost ? "; all pictures are in JupyterLab alone" : "";
    ui.heading.textContent = `${grouped(this.listed.length)} ${what}, page ${page + 1} of ${grouped(pages)}${pictures}`;
    ui.clear.hidden = !this.picked;
    ui.previous.disabled = page === 0;
    ui.next.disabled = page >= pages - 1;
    ui.export.disabled = !this.listed.length;
    const missing = this.frames.filter((i) => !data.pictures.has(i));
    if (missing.length && data.images && this.model.send) {
      missing.forEach((i) => data.pictures.set(i, null)); // asked for
      this.model.send({ kind: "pictures", frames: missing });
    }
    if (this.tiles?.map(({ frame }) => frame).join() !== this.frames.join()) {
      this.tiles = this.frames.map((i) => this.tile(i));
      ui.grid.replaceChildren(...this.tiles.map(({ element }) => element));
    }
    for (const { frame, rows } of this.tiles) rows.forEach((row, m) => this.judge(row, m, frame));
  }

  /** The verdict of a method on a frame. */
  judge(row, m, i) {
    const wrong = this.errs(m, i), verdict = this.accepts(m, i) ? "accepted" : "refused";
    row.className = `${m === this.method ? "chosen" : ""} ${wrong ? "wrong" : ""}`;
    row.lastChild.textContent = (wrong ? "\u2717 " : "") + verdict;
    row.lastChild.setAttribute("aria-label", (wrong ? "wrongly " : "") + verdict);
  }

  tile(i) {
    const { data } = this, sample = data.samples[i], label = CLASSES[data.label[i]].replace(" ", "-");
    const who = data.subject[i] >= 0 ? `; subject ${data.subjects[data.subject[i]]}` : "";
    const what = (data.attacks[data.attack[i]] ?? CLASSES[data.label[i]]) + who;
    const rows = data.methods.map(({ title }, m) => {
      const score = data.scores[m][i];
      return h("tr", {}, h("th", { scope: "row", title }, title), h("td", { title: score }, score.toFixed(4)), h("td"));
    });
    const about = { "data-testid": "frame", "data-sample": sample, tabindex: "0", "aria-label": `${what}, ${sample}` };
    const element = h("article", { class: `tile ${label}`, ...about });
    const cameras = data.cameras.map((name) => h("span", {}, name));
    if (data.images) element.append(this.picture(i), h("p", { class: "cameras", "aria-hidden": "true" }, ...cameras));
    element.append(h("p", {}, h("b", {}, what)), h("p", { class: "sample", title: sample }, sample));
    element.append(h("p", {}, `disagreement ${data.deviation[i].toFixed(4)}`));
    element.append(h("div", { class: "verdicts" }, h("table", {}, ...rows)));
    for (const [event, frame] of [["pointerenter", i], ["focus", i], ["pointerleave", -1], ["blur", -1]])
      element.addEventListener(event, () => { this.pointed = frame; this.drawScatter(); });
    return { frame: i, rows, element };
  }

  /** The picture of a frame, or that there is none. */
  picture(i) {
    const { data } = this, code = data.pictures.get(i), alt = `${data.cameras.join(", ")} of ${data.samples[i]}`;
    return code ? h("img", { src: `data:image/webp;base64,${code}`, alt })
      : h("p", { class: "none", "data-frame": i }, code === null && this.model.send ? "…" : "no picture here");
  }

  /** Pictures that the kernel sent. */
  receive(message) {
    for (const [i, code] of message.kind === "pictures" ? message.pictures : []) {
      this.data.pictures.set(i, code);
      this.ui.grid.querySelector(`.none[data-frame="${i}"]`)?.replaceWith(this.picture(i));
    }
  }

  /** The listed frames, all pages of them, in the order shown, as a CSV file. */
  save() {
    const { data } = this, names = data.methods.flatMap(({ name }) => [`${name} score`, `${name} verdict`]);
    const verdict = (m, i) => (this.accepts(m, i) ? "accepted" : "refused") + (this.errs(m, i) ? ", wrong" : "");
    const rows = this.listed.map((i) => [data.samples[i], CLASSES[data.label[i]],
      data.attack[i] < 0 ? "" : data.attack[i], data.subjects[data.subject[i]] ?? "", data.deviation[i],
      ...data.methods.flatMap((_, m) => [data.scores[m][i], verdict(m, i)])]);
    rows.unshift(["sample", "class", "attack", "subject", "disagreement", ...names]);
    const text = rows.map((row) => row.map(csvField).join(",") + "\r\n").join("");
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    h("a", { href: url, download: "frames.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}

// --------------------------------------------------------------------------------------------- who calls the explorer

export default {
  /** anywidget calls this for every place in which the explorer is shown. */
  render({ model, el }) {
    const explorer = new Explorer(el.appendChild(h("div")), model);
    return () => explorer.close();
  },
};

/** A page of its own: the data stand in it, compressed, as base64. In a frame it tells its height. */
export async function startPage(root, text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const view = new DataView(await new Response(stream).arrayBuffer());
  const explorer = new Explorer(root, { get: () => view, set() {}, save_changes() {} });
  const tell = () => window.parent.postMessage({ fasnbHeight: document.body.offsetHeight }, "*");
  if (window.parent !== window) new ResizeObserver(tell).observe(document.body);
  window.addEventListener("message", ({ data }) => explorer.follow(data?.fasnbWalk)); // a link of the page around it
}
