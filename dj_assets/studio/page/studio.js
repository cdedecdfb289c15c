// The threshold studio's page. It holds the bounds that are being tried; every number comes from the server.
"use strict";

const MARGIN = { l: 52, r: 54, t: 8, b: 34 };
const IDLE_MS = 150;
const BARS_MS = 250;
const UNSEEN = ["missing", "unreadable", "no_video_stream", "refused", "malformed"];
const COLOURS = { all: "#cfd8e0", survivors: "#5b8fc7", curve: "#2c8a57" };
const NO_LOGO = { displayModeBar: false, responsive: false, doubleClick: false };

const $ = (id) => document.getElementById(id);
const page = { meta: null, saved: null, state: null, active: null, counts: null, panels: new Map() };
// For those who measure: milliseconds from an input event to the picture with the new counts.
window.studio = { latencies: [], page };

// --- asking the server

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, options).catch(() => null);
  if (!response) throw { given: "The studio does not answer.", try: "look at the terminal where dj-assets tune runs" };
  const found = await response.json().catch(() => ({ given: `The studio answered ${response.status}.` }));
  if (!response.ok) throw found;
  return found;
}

function complain(error) {
  const parts = [error.given ?? String(error), error.allowed && `allowed: ${error.allowed}`, error.try && `try: ${error.try}`];
  toast(parts.filter(Boolean).join("\n"), false);
}

function toast(text, isGood) {
  $("toast").textContent = text;
  $("toast").className = isGood ? "good" : "";
  $("toast").hidden = false;
}

// Of several questions of one kind only the newest matters: one is under way, one may wait.
function newest(work) {
  let busy = false, waiting = null;
  return async function run(...args) {
    if (busy) { waiting = args; return; }
    busy = true;
    try { await work(...args); } catch (error) { complain(error); }
    busy = false;
    if (waiting) { const next = waiting; waiting = null; run(...next); }
  };
}

// --- small things

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

const whole = (number) => number.toLocaleString("en-US");
const share = (part, all) => (all ? `${((100 * part) / all).toFixed(1)} %` : "–");
const short = (number) => (number === null ? "no limit" : String(Number(number.toPrecision(6))));
const copy = (value) => JSON.parse(JSON.stringify(value));
const panelKey = (step, stat) => `${step}/${stat}`;

// --- one panel per stat

class Panel {
  constructor(step, panel) {
    this.step = step;
    this.panel = panel;
    this.axis = panel.axis;
    this.handles = new Map();
    this.said = make("span", { class: "said mono" });
    this.chart = make("div", { class: "chart" });
    this.plot = make("div", { class: "plot" }, this.chart);
    this.outside = [make("div", { class: "outside" }), make("div", { class: "outside" })];
    this.plot.append(...this.outside);
    this.controls = make("div", { class: "controls" });
    const missing = Object.entries(panel.undecided).map(([status, count]) => `${whole(count)} ${status}`).join(", ");
    this.element = make("section", { class: "panel", "data-step": step.key, "data-stat": panel.stat },
      make("div", { class: "head" },
        make("h2", { text: `${step.number} · ${panel.name}` }), make("span", { class: "faint mono", text: step.key }), this.said),
      this.plot, this.controls,
      make("div", { class: "faint", text: `${whole(panel.measured)} of ${whole(panel.videos)} ${step.of} measured, in ${panel.unit}`
        + (missing ? `; without a number: ${missing}` : "") + (step.is_reversed ? "; reversed_range: what lies outside is kept" : "") }));
    for (const bound of panel.bounds) this.addBound(bound);
    if (panel.bounds.length) this.addRules();
  }

  get bounds() { return page.state.steps[this.step.key]; }

  addBound(bound) {
    const handle = make("div", { class: "handle", tabindex: 0, role: "slider", "aria-label": bound.option, "data-option": bound.option,
      title: `${bound.option}: ${bound.help}` });
    const input = make("input", { type: "number", step: this.panel.is_integer ? 1 : "any", "data-option": bound.option, placeholder: "no limit", "aria-label": bound.option });
    handle.addEventListener("pointerdown", (event) => this.drag(event, bound, handle));
    handle.addEventListener("focus", () => activate(this.step.key, bound.option));
    handle.addEventListener("keydown", (event) => this.nudge(event, bound));
    input.addEventListener("change", () => this.typed(bound, input));
    input.addEventListener("focus", () => activate(this.step.key, bound.option));
    this.handles.set(bound.option, { bound, handle, input });
    this.plot.append(handle);
    this.controls.append(make("label", {}, `${bound.option} `, input));
  }

  addRules() {
    const select = (name, options) => {
      const element = make("select", { "aria-label": name, "data-rule": name }, ...options.map(([value, text]) => make("option", { value, text })));
      element.addEventListener("change", () => {
        const value = element.value === "true" ? true : element.value === "false" ? false : element.value;
        this.bounds[name] = value;
        for (const panel of page.panels.values()) if (panel.step === this.step) panel.place();
        changed(event_time());
      });
      this.controls.append(element);
      return element;
    };
    this.rules = {
      ...(this.step.of === "videos" ? { any_or_all: select("any_or_all", [["any", "any video"], ["all", "all videos"]]) } : {}),
      min_closed_interval: select("min_closed_interval", [["true", "≥ min"], ["false", "> min"]]),
      max_closed_interval: select("max_closed_interval", [["true", "≤ max"], ["false", "< max"]]),
    };
  }

  get width() { return this.plot.clientWidth - MARGIN.l - MARGIN.r; }
  pixel(value) { return MARGIN.l + ((value - this.axis.low) / (this.axis.high - this.axis.low)) * this.width; }

  value(pixel, bound) {
    const part = (pixel - MARGIN.l) / this.width;
    if (bound.side === "min" ? part <= 0 : part >= 1) return null;
    const raw = this.axis.low + Math.min(1, Math.max(0, part)) * (this.axis.high - this.axis.low);
    return this.rounded(raw);
  }

  rounded(raw) {
    if (this.panel.is_integer) return Math.round(raw);
    const digits = Math.max(0, Math.min(12, 3 - Math.floor(Math.log10(this.axis.high - this.axis.low))));
    return Number(raw.toFixed(digits));
  }

  typed(bound, input) {
    if (input.validity.badInput) {
      input.value = this.bounds.bounds[bound.option] ?? "";
      complain({ given: `${bound.option}: that is no number`, allowed: "a number, or nothing for no limit" });
      return;
    }
    const value = input.value === "" ? null : Number(input.value);
    this.set(bound, value !== null && this.panel.is_integer ? Math.round(value) : value, event_time());
  }

  drag(event, bound, handle) {
    if (event.button !== 0) return;
    event.preventDefault();
    dragging = true;
    handle.focus();
    handle.setPointerCapture(event.pointerId);
    const left = this.plot.getBoundingClientRect().left;
    const move = (moved) => this.set(bound, this.value(moved.clientX - left, bound), moved.timeStamp);
    const stop = () => { handle.removeEventListener("pointermove", move); dragging = false; settle(); };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", stop, { once: true });
  }

  nudge(event, bound) {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!step) return;
    event.preventDefault();
    const now = this.bounds.bounds[bound.option] ?? (bound.side === "min" ? this.axis.low : this.axis.high);
    const size = this.panel.is_integer ? 1 : (this.axis.high - this.axis.low) / 500;
    this.set(bound, this.rounded(now + step * size), event.timeStamp);
  }

  set(bound, value, at) {
    if (value !== null && !Number.isFinite(value)) return;
    if (this.bounds.bounds[bound.option] === value) return;
    this.bounds.bounds[bound.option] = value;
    this.place();
    changed(at);
  }

  // Handles, fields and shading where the bounds are.
  place() {
    const edges = { min: MARGIN.l, max: MARGIN.l + this.width };
    for (const { bound, handle, input } of this.handles.values()) {
      const value = this.bounds.bounds[bound.option];
      const inside = value === null ? edges[bound.side] : Math.min(MARGIN.l + this.width, Math.max(MARGIN.l, this.pixel(value)));
      handle.style.left = `${inside}px`;
      handle.classList.toggle("open", value === null || value < this.axis.low || value > this.axis.high);
      handle.setAttribute("aria-valuenow", value ?? "");
      handle.setAttribute("aria-valuetext", short(value));
      if (document.activeElement !== input) input.value = value ?? "";
      edges[bound.side] = inside;
    }
    const [left, right] = this.outside;
    if (this.step.is_reversed) {
      left.style.cssText = `left:${edges.min}px;width:${Math.max(0, edges.max - edges.min)}px`;
      right.style.cssText = "width:0";
    } else {
      left.style.cssText = `left:${MARGIN.l}px;width:${Math.max(0, edges.min - MARGIN.l)}px`;
      right.style.cssText = `left:${edges.max}px;width:${Math.max(0, MARGIN.l + this.width - edges.max)}px`;
    }
    if (this.rules) for (const [name, select] of Object.entries(this.rules)) select.value = String(this.bounds[name]);
  }

  say(counts, samples) {
    const step = counts.steps[this.step.key];
    this.said.textContent = `passes ${share(step.passes, samples)} alone · drops ${whole(step.dropped)} · undecided ${whole(step.unknown)}`;
  }

  draw(found, samples) {
    const { low, high, bins } = this.axis;
    const width = (high - low) / bins;
    const centres = Array.from({ length: bins }, (_, bin) => low + (bin + 0.5) * width);
    const edges = Array.from({ length: bins + 1 }, (_, bin) => low + bin * width);
    const bars = (y, colour, name) => ({ type: "bar", x: centres, y, width, marker: { color: colour }, name,
      hovertemplate: `%{x:.4g}: %{y:,} ${this.step.of}<extra>` + name + "</extra>" });
    const traces = [bars(found.all, COLOURS.all, "all"), bars(found.survivors, COLOURS.survivors, "pass every other step")];
    for (const [side, counts] of Object.entries(found.curves)) {
      traces.push({ type: "scatter", mode: "lines", x: edges, y: counts.map((count) => (samples ? (100 * count) / samples : 0)), yaxis: "y2",
        line: { color: COLOURS.curve, width: 1.6, dash: side === "min" ? "solid" : "dot" }, name: `kept if ${side} were here`,
        hovertemplate: "%{x:.4g}: %{y:.1f} % kept<extra>if " + side + " were here</extra>" });
    }
    const layout = { barmode: "overlay", bargap: 0, margin: MARGIN, height: 200, width: this.plot.clientWidth, showlegend: false, hovermode: "closest",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { size: 11, color: "#66727f" },
      xaxis: { range: [low, high], fixedrange: true, zeroline: false, showgrid: false },
      yaxis: { fixedrange: true, zeroline: false, gridcolor: "#eef1f4", rangemode: "tozero", ...(Math.max(...found.all) < 6 ? { dtick: 1 } : { nticks: 6 }) },
      yaxis2: { overlaying: "y", side: "right", range: [0, 103], fixedrange: true, showgrid: false, zeroline: false,
        tickvals: [0, 50, 100], ticktext: ["0 %", "50 %", "100 %"], ticks: "outside", ticklen: 7, tickcolor: "rgba(0,0,0,0)" } };
    Plotly.react(this.chart, traces, layout, NO_LOGO);
  }

  // While a bound moves, only what passes the other steps changes.
  redraw(survivors) { Plotly.restyle(this.chart, { y: [survivors] }, [1]); }
}

const event_time = () => performance.now();

// --- counts

let idle = 0, dragging = false, drawn_at = 0;

function changed(at) {
  page.changed_at ??= at;
  // The totals follow every move; the charts as often as they can without making a move wait.
  const now = performance.now();
  if (now - drawn_at > BARS_MS) { drawn_at = now; bars("bars"); }
  totals();
  clearTimeout(idle);
  idle = setTimeout(settle, IDLE_MS);
}

function settle() {
  if (dragging) { bars("bars"); return; }
  bars("curves");
  near();
  tradeOff();
}

const totals = newest(async () => {
  const began = page.changed_at;
  page.changed_at = null;
  showTotals(await ask("/api/count", { state: page.state, show: "totals" }));
  if (began != null) requestAnimationFrame(() => setTimeout(() => window.studio.latencies.push(performance.now() - began)));
});

const bars = newest(drawBars);

async function drawBars(show) {
  const counts = await ask("/api/count", { state: page.state, show });
  const before = page.counts;
  page.counts = counts;
  if (show === "curves") showTotals(counts);
  redrawPanels(counts, before, show === "curves");
}

function showTotals(counts) {
  for (const name of ["kept", "dropped", "undecided"]) $(name).textContent = whole(counts[name]);
  $("kept-share").textContent = `${share(counts.kept, counts.samples)} of ${whole(counts.samples)}`;
  $("delta").textContent = counts.entering || counts.leaving ? `+${whole(counts.entering)} −${whole(counts.leaving)}` : "±0";
  for (const panel of page.panels.values()) panel.say(counts, counts.samples);
  $("save").disabled = JSON.stringify(page.state.steps) === JSON.stringify(page.saved.steps);
}

// A chart per frame, so that the next move of the mouse never waits for all of them.
let drawing = 0;
function redrawPanels(counts, before, with_curves) {
  const round = ++drawing;
  const queue = [...page.panels.entries()].filter(([key]) => with_curves
    || !before || String(before.panels[key].survivors) !== String(counts.panels[key].survivors));
  const next = () => {
    if (round !== drawing || !queue.length) return;
    const [key, panel] = queue.shift();
    const found = counts.panels[key];
    if (with_curves || !panel.chart.data) panel.draw(found, counts.samples);
    else panel.redraw(found.survivors);
    requestAnimationFrame(next);
  };
  requestAnimationFrame(next);
}

// --- samples near a bound

function activate(step, option) {
  if (page.active && page.active.step === step && page.active.option === option) return;
  page.active = { step, option };
  for (const panel of page.panels.values()) panel.element.classList.toggle("active", panel.step.key === step && panel.handles.has(option));
  $("near-of").textContent = `${step}.${option}`;
  $("proposal").hidden = true;
  if (!dragging) near();
}

const near = newest(async () => {
  if (!page.active) return;
  const { step, option } = page.active;
  const body = { state: page.state, step, option, most: 6, only_survivors: $("survivors").checked };
  const [found, unknown] = await Promise.all([ask("/api/near", body), ask("/api/undecided", { state: page.state, step })]);
  fill("near-kept", found.kept, "nothing on this side");
  fill("near-dropped", found.dropped, "nothing on this side");
  fill("near-undecided", unknown.slice(0, 6), "none");
});

function fill(id, cards, empty) {
  $(id).replaceChildren(...(cards.length ? cards.map(cell) : [make("span", { class: "faint", text: empty })]));
}

function cell(card) {
  const shown = make("button", { class: "shown", title: card.sample_id, onclick: () => openSample(card.number) });
  if (card.video !== null && !UNSEEN.includes(card.status)) {
    const image = make("img", { loading: "lazy", alt: card.name, src: `/picture/thumbnail/${card.video}` });
    image.addEventListener("error", () => image.replaceWith(make("span", { class: "none", text: "no picture of it can be had" })));
    shown.append(image);
  } else shown.append(make("span", { class: "none", text: card.status === "ok" ? "no video" : `${card.status}: ${card.reason || card.name}` }));
  const name = card.name.split("/").pop();
  const text = make("div", { class: "text", title: card.name });
  text.append(make("b", { text: card.value === null ? card.status : short(card.value) }), ` ${name}`);
  const marks = make("div", { class: "marks" });
  for (const label of ["keep", "drop"]) {
    marks.append(make("button", { class: label, text: label, "aria-pressed": String(card.label === label), onclick: async () => {
      const keep = card.label === label ? null : label === "keep";
      try {
        const done = await ask("/api/mark", { video: card.video, keep });
        card.label = keep === null ? null : label;
        for (const button of marks.children) button.setAttribute("aria-pressed", String(button.className === card.label));
        showMarks(done.labels);
      } catch (error) { complain(error); }
    } }));
  }
  return make("div", { class: "cell", "data-sample": card.sample_id }, shown, text, ...(card.video === null ? [] : [marks]));
}

function showMarks(count) {
  $("marks").textContent = count ? `${count} marked` : "mark clips keep or drop, and a bound is proposed";
  $("fit").disabled = !count;
}

async function fit() {
  try {
    const { step, option } = page.active;
    const found = await ask("/api/fit", { state: page.state, step, option });
    const interval = ([low, high]) => `${(100 * low).toFixed(0)} to ${(100 * high).toFixed(0)} %`;
    const precision = found.precision === null ? "keeps none of them" : `precision ${(100 * found.precision).toFixed(0)} % (${interval(found.precision_interval)})`;
    $("proposal").replaceChildren(
      make("b", { text: `${option}: ${short(found.bound)}` }), ` between ${short(found.interval[0])} and ${short(found.interval[1])} (95 %); ${precision}, `
      + `recall ${(100 * found.recall).toFixed(0)} % (${interval(found.recall_interval)}); from ${found.num_keep} marked keep and ${found.num_drop} drop, `
      + `${found.errors} of them wrong${found.without_number ? `; ${found.without_number} marked without a number` : ""}. `,
      make("button", { id: "use-fit", text: "Use it", onclick: () => {
        const panel = [...page.panels.values()].find((one) => one.step.key === step && one.handles.has(option));
        panel.set(panel.handles.get(option).bound, Number(found.bound.toPrecision(6)), event_time());
      } }));
    $("proposal").hidden = false;
  } catch (error) { complain(error); }
}

// --- one sample

async function openSample(number) {
  try {
    const found = await ask("/api/sample", { state: page.state, number });
    $("detail-name").textContent = found.sample_id + (found.status === "ok" ? "" : ` · ${found.status}: ${found.reason}`);
    const rows = found.steps.map((step) => make("tr", {}, make("td", { class: "mono", text: step.step }),
      make("td", { class: `answer-${step.answer}`, text: step.answer }),
      make("td", { class: "mono", text: step.videos.map((video) => Object.values(video.values).map((value) => (value === null ? video.status : short(value))).join(" × ")).join(", ") }),
      make("td", { class: "mono faint", text: step.bounds })));
    const body = [make("table", {}, ...rows)];
    for (const video of found.videos) body.push(figure(video, found.steps));
    $("detail-body").replaceChildren(...body);
    if (!$("detail").open) $("detail").showModal();
  } catch (error) { complain(error); }
}

function figure(video, steps) {
  const parts = [make("figcaption", { class: "mono", text: video.path || video.name })];
  if (video.status !== "ok") return make("figure", {}, ...parts, make("p", { text: `${video.status}: ${video.reason}` }));
  const player = make("video", { controls: true, preload: "metadata", src: `/media/${video.video}` });
  player.addEventListener("error", async () => {
    const said = await fetch(`/media/${video.video}`, { headers: { range: "bytes=0-0" } }).then((r) => (r.ok ? {} : r.json())).catch(() => ({}));
    player.replaceWith(make("p", { class: "faint", text: said.given ?? "This browser cannot play this video; its pictures are below." }));
  });
  parts.push(player);
  for (const step of steps) {
    if (!step.draws || !step.videos.some((one) => one.video === video.video && one.status === "ok")) continue;
    for (const kind of step.previews ? ["preview", "sheet"] : ["sheet"]) {
      const image = make("img", { loading: "lazy", alt: `${kind} of ${step.step}`, src: `/picture/${kind}/${video.video}?step=${encodeURIComponent(step.step)}` });
      image.addEventListener("error", () => image.remove());
      parts.push(make("figcaption", { text: step.step }), image);
    }
  }
  return make("figure", {}, ...parts);
}

// --- two bounds at once

function ends() {
  return page.meta.steps.flatMap((step) => step.panels.flatMap((panel) => panel.bounds.map((bound) => ({ step: step.key, option: bound.option, side: bound.side, stat: panel.stat }))));
}

const tradeOff = newest(async () => {
  const all = ends();
  const [x, y] = [all[Number($("trade-x").value)], all[Number($("trade-y").value)]];
  if (!x || !y || x.step === y.step) { $("trade").hidden = new Set(all.map((end) => end.step)).size < 2; return; }
  const found = await ask("/api/trade_off", { state: page.state, x: [x.step, x.option], y: [y.step, y.option] });
  page.trade = { found, x, y };
  drawTradeOff();
});

function drawTradeOff() {
  if (!page.trade) return;
  const { found, x, y } = page.trade;
  const mode = $("trade-mode").value;
  const extra = mode === "kept" ? 1 : 0;
  const places = (axis) => Array.from({ length: axis.bins + extra }, (_, bin) => axis.low + (bin + (extra ? 0 : 0.5)) * ((axis.high - axis.low) / axis.bins));
  const z = mode === "kept" ? found.kept : found.counts.map((row) => row.map((count) => (count ? Math.log10(count) : null)));
  const text = mode === "kept" ? found.kept : found.counts;
  const lines = [];
  for (const [end, axis] of [[x, "x"], [y, "y"]]) {
    const value = page.state.steps[end.step].bounds[end.option];
    if (value === null) continue;
    const other = axis === "x" ? "y" : "x";
    lines.push({ type: "line", [`${axis}0`]: value, [`${axis}1`]: value, [`${axis}ref`]: axis, [`${other}ref`]: "paper", [`${other}0`]: 0, [`${other}1`]: 1, line: { color: "#c0392b", width: 1.5 } });
  }
  const layout = { margin: { l: 62, r: 10, t: 8, b: 44 }, height: 320, font: { size: 11, color: "#66727f" }, shapes: lines,
    xaxis: { title: { text: `${x.stat} · ${x.option}` }, fixedrange: true, range: [found.x.low, found.x.high] },
    yaxis: { title: { text: `${y.stat} · ${y.option}` }, fixedrange: true, range: [found.y.low, found.y.high] } };
  Plotly.react("trade-plot", [{ type: "heatmap", x: places(found.x), y: places(found.y), z, text, colorscale: "Viridis", showscale: mode === "kept",
    hovertemplate: `%{x:.4g} × %{y:.4g}: %{text:,} ${mode === "kept" ? "kept" : "samples"}<extra></extra>` }], layout, NO_LOGO);
  const plot = $("trade-plot");
  plot.removeAllListeners("plotly_click");
  plot.on("plotly_click", (event) => {
    for (const [end, value] of [[x, event.points[0].x], [y, event.points[0].y]]) {
      const panel = [...page.panels.values()].find((one) => one.step.key === end.step && one.handles.has(end.option));
      panel.set(panel.handles.get(end.option).bound, panel.rounded(value), event_time());
    }
  });
}

// --- the file

async function openSave() {
  try {
    const found = await ask("/api/save", { state: page.state, is_dry: true });
    $("save-changes").replaceChildren(...found.changes.map((line) => make("li", { text: line })));
    $("save-dialog").showModal();
  } catch (error) { complain(error); }
}

async function save() {
  try {
    const found = await ask("/api/save", { state: page.state, is_dry: false });
    page.saved = copy({ steps: page.state.steps });
    $("save-dialog").close();
    toast(`Saved to ${page.meta.file}:\n${found.changes.join("\n")}`, true);
    bars("curves");
  } catch (error) { $("save-dialog").close(); complain(error); }
}

// --- beginning

function showNotes() {
  const notes = [];
  for (const step of page.meta.steps) for (const panel of step.panels) {
    const open = panel.undecided.not_measured;
    if (open) notes.push(`${whole(open)} videos have no ${panel.stat} yet, so their samples are undecided here: dj-assets analyze ${page.meta.file} measures them.`);
  }
  if (page.meta.malformed) notes.push(`${whole(page.meta.malformed)} lines of the manifest are no samples; they are undecided whatever the bounds.`);
  for (const step of page.meta.whole) notes.push(`${step.key} looks at the whole dataset, after all bounds of the steps before it. It is in none of these counts: of what they call kept, a run keeps only ${step.keeps}.`);
  $("notes").replaceChildren(...notes.map((text) => make("p", { text })));
}

function readFilter() {
  const shards = [...$("shards").selectedOptions].map((option) => option.value);
  const name = $("field").value;
  page.state.filter = { shards, field: name ? { name, test: $("test").value, value: $("value").value } : null };
  $("looking").textContent = shards.length || name ? "counts are of the chosen samples" : "";
  changed(event_time());
}

async function begin() {
  page.meta = await ask("/api/recipe");
  page.state = copy(page.meta.state);
  page.saved = copy(page.meta.state);
  document.title = `${page.meta.recipe} · threshold studio`;
  $("recipe").textContent = page.meta.recipe;
  $("file").textContent = $("save-file").textContent = page.meta.file;
  for (const shard of page.meta.shards) $("shards").append(make("option", { value: shard.key, text: `${shard.key} (${whole(shard.samples)})` }));
  for (const name of page.meta.fields) $("field").append(make("option", { value: name, text: name }));
  for (const step of page.meta.steps) for (const panel of step.panels) {
    const made = new Panel(step, panel);
    page.panels.set(panelKey(step.key, panel.stat), made);
    $("panels").append(made.element);
    made.place();
  }
  const all = ends();
  for (const id of ["trade-x", "trade-y"]) {
    all.forEach((end, at) => $(id).append(make("option", { value: at, text: `${end.step}.${end.option}` })));
    $(id).addEventListener("change", tradeOff);
  }
  showNotes();
  showMarks(page.meta.labels);
  await drawBars("curves");
  // Begin at the bound that has most videos beyond it, against the next such of another step.
  const beyond = (end) => {
    const value = page.state.steps[end.step].bounds[end.option];
    const { low, high, bins } = page.panels.get(panelKey(end.step, end.stat)).axis;
    return page.counts.panels[panelKey(end.step, end.stat)].all.reduce((sum, count, bin) => {
      const centre = low + (bin + 0.5) * ((high - low) / bins);
      return sum + (value !== null && (end.side === "min" ? centre < value : centre > value) ? count : 0);
    }, 0);
  };
  const ranked = [...all].sort((one, other) => beyond(other) - beyond(one));
  const first = ranked[0];
  const second = ranked.find((end) => end.step !== first.step) ?? all.find((end) => end.step !== first?.step);
  $("trade").hidden = !second;
  if (second) { $("trade-x").value = all.indexOf(first); $("trade-y").value = all.indexOf(second); }
  if (first) activate(first.step, first.option);
  tradeOff();
  document.body.dataset.ready = "true";
}

window.addEventListener("DOMContentLoaded", () => {
  $("reset").addEventListener("click", () => {
    page.state.steps = copy(page.saved.steps);
    for (const panel of page.panels.values()) panel.place();
    changed(event_time());
  });
  $("save").addEventListener("click", openSave);
  $("save-confirm").addEventListener("click", save);
  $("save-cancel").addEventListener("click", () => $("save-dialog").close());
  $("apply").addEventListener("click", readFilter);
  $("fit").addEventListener("click", fit);
  $("survivors").addEventListener("change", near);
  $("trade-mode").addEventListener("change", drawTradeOff);
  $("detail").addEventListener("close", () => $("detail-body").replaceChildren());  // or it would go on playing
  $("toast").addEventListener("click", () => { $("toast").hidden = true; });
  window.addEventListener("resize", () => { for (const panel of page.panels.values()) panel.place(); bars("curves"); });
  begin().catch(complain);
});
