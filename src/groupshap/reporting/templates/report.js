"use strict";
// Draws the plots of the page from the JSON beside it and sorts its tables. Text goes in as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const level = `${+(100 * data.level).toPrecision(6)} %`;
  const ROW = 20, AXIS = 26, MANY = 40, HALF = 20;
  const state = { order: "value", all: false };

  // --- small things
  function make(tag, attributes, parent, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  }

  function words(value, signed = true) {
    if (value === null || !Number.isFinite(value)) return "none";
    const size = Math.abs(value);
    const text = (size >= 100 && size < 1e9) || value === 0 ? value.toFixed(0) : value.toPrecision(3);
    return ((signed && value > 0 ? "+" : "") + text).replace("-", "−");
  }

  // A tick is a round number already; rounding it again would make two ticks look equal.
  const plain = (tick) => String(tick).replace("-", "−");

  function ticks(low, high, count) {
    const raw = (high - low) / Math.max(1, count);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= raw * 0.999);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) found.push(Number((i * step).toPrecision(12)));
    return found;
  }

  function range(values, pad = 0.05) {
    const known = values.filter((v) => v !== null && Number.isFinite(v));
    let low = Math.min(...known), high = Math.max(...known);
    if (!known.length) [low, high] = [0, 1];
    if (low === high) [low, high] = [low - (Math.abs(low) || 1) * 0.5, high + (Math.abs(high) || 1) * 0.5];
    const margin = (high - low) * pad;
    return [low - margin, high + margin];
  }

  function scale(domain, pixels) {
    const factor = (pixels[1] - pixels[0]) / (domain[1] - domain[0]);
    return (value) => pixels[0] + (value - domain[0]) * factor;
  }

  function canvas(figure, width, height) {
    const plot = figure.querySelector(".plot");
    const focused = plot.contains(document.activeElement);
    plot.replaceChildren();
    const svg = make("svg", {
      width, height, viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: "img",
      "aria-label": `${plot.dataset.words}. Use the arrow keys to read single values.`,
    }, null);
    plot.append(svg);
    if (focused) svg.focus();
    return svg;
  }

  const say = (figure, text) => { figure.querySelector(".readout").textContent = text; };
  const better = (property, value) => (value >= 0) === property.higher;

  // A label that does not fit ends in "…"; characters are cut as readers count them.
  function shorten(text, width) {
    const parts = [...text.textContent];
    while (parts.length > 1 && text.getComputedTextLength() > width) {
      parts.pop();
      text.textContent = `${parts.join("").trimEnd()}…`;
    }
  }

  // --- bars with intervals
  function bars(figure, property, rows, domain, describe, unit) {
    const width = figure.querySelector(".plot").clientWidth;
    const height = rows.length * ROW + AXIS;
    const labelWidth = Math.min(170, width * 0.36);
    const svg = canvas(figure, width, height);
    const x = scale(domain, [labelWidth + 8, width - 10]);
    for (const tick of ticks(domain[0], domain[1], width / 110)) {
      make("line", { x1: x(tick), x2: x(tick), y1: 0, y2: height - AXIS, class: "grid" }, svg);
      make("text", { x: x(tick), y: height - 9, "text-anchor": "middle", class: "axis" }, svg, plain(tick) + unit);
    }
    const drawn = rows.map((row, i) => bar(svg, row, i, x, width, labelWidth));
    make("line", { x1: x(0), x2: x(0), y1: 0, y2: height - AXIS, class: "zero" }, svg);
    choose(figure, svg, drawn.filter(Boolean), describe);
  }

  function bar(svg, row, i, x, width, labelWidth) {
    const top = i * ROW, middle = top + ROW / 2;
    if (row.gap) {
      make("text", { x: labelWidth + 8, y: middle + 4, class: "axis" }, svg, row.gap);
      return null;
    }
    const group = make("g", { class: "row" }, svg);
    make("rect", { x: 1, y: top + 1, width: width - 2, height: ROW - 2, rx: 3, class: "hit" }, group);
    const clip = make("svg", { x: 0, y: top, width: labelWidth, height: ROW, overflow: "hidden" }, group);
    shorten(make("text", { x: 4, y: ROW / 2 + 4 }, clip, row.label), labelWidth - 6);
    const [from, to] = [x(0), x(row.value)].sort((a, b) => a - b);
    make("rect", { x: from, y: top + 4, width: Math.max(to - from, 0.8), height: ROW - 8, class: `bar ${row.helped ? "helped" : "harmed"}`, "data-value": row.value }, group);
    if (row.low !== undefined) {
      const path = `M${x(row.low)} ${middle}H${x(row.high)}M${x(row.low)} ${middle - 3}v6M${x(row.high)} ${middle - 3}v6`;
      make("path", { d: path, class: "rim" }, group);
      make("path", { d: path, class: "whisker" }, group);
    }
    return { group, row };
  }

  // One stop of the tab key per plot; inside it the arrow keys, or the mouse, choose a row.
  function choose(figure, svg, drawn, describe) {
    let current = -1;
    const pick = (index) => {
      if (current >= 0) drawn[current].group.classList.remove("on");
      current = Math.max(0, Math.min(drawn.length - 1, index));
      drawn[current].group.classList.add("on");
      say(figure, describe(drawn[current].row));
    };
    const open = () => { if (current >= 0) location.hash = `c${drawn[current].row.player}`; };
    drawn.forEach(({ group }, index) => {
      group.addEventListener("pointerenter", () => pick(index));
      group.addEventListener("click", () => { pick(index); open(); });
    });
    svg.addEventListener("focus", () => pick(Math.max(current, 0)));
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, Home: -1e9, End: 1e9 }[event.key];
      if (move) { event.preventDefault(); pick(current + move); }
      if (event.key === "Enter") open();
    });
  }

  function ordered(property) {
    const sign = property.higher ? -1 : 1;
    const players = [...data.order];
    if (state.order === "value") players.sort((a, b) => sign * (property.values[a][0] - property.values[b][0]) || a - b);
    if (state.order === "name") players.sort((a, b) => data.contributors[a].localeCompare(data.contributors[b]) || a - b);
    return players;
  }

  function shown(rows) {
    if (state.all || rows.length <= MANY) return rows;
    return [...rows.slice(0, HALF), { gap: `… ${rows.length - 2 * HALF} not drawn …` }, ...rows.slice(-HALF)];
  }

  function drawValues(figure, property) {
    const rows = shown(ordered(property).map((player) => {
      const [value, low, high] = property.values[player];
      return { player, label: data.contributors[player], value, low, high, helped: better(property, value) };
    }));
    const domain = range([0, ...rows.filter((row) => !row.gap).flatMap((row) => [row.value, row.low, row.high])], 0.03);
    bars(figure, property, rows, domain, (row) => (
      `${row.label}: ${words(row.value)}, ${level} interval ${words(row.low)} to ${words(row.high)} (${row.helped ? "better" : "worse"})`
    ), "");
  }

  function drawPayment(figure, property) {
    const rows = property.payment.map((value, player) => ({ player, label: data.contributors[player], value: value ?? 0, helped: true }));
    rows.sort((a, b) => b.value - a.value || a.player - b.player);
    const domain = [0, Math.max(1e-9, ...rows.map((row) => row.value)) * 1.03];
    bars(figure, property, shown(rows), domain, (row) => `${row.label}: ${row.value} %`, " %");
  }

  // --- lines and dots
  function lines(figure, spec) {
    const width = figure.querySelector(".plot").clientWidth;
    const height = spec.height, left = 54, bottom = 38;
    const right = spec.labels && width > 420 ? 150 : 14;
    const svg = canvas(figure, width, height);
    const x = scale(spec.x, [left, width - right]), y = scale(spec.y, [height - bottom, 10]);
    axes(svg, spec, x, y, width - right, height - bottom, left);
    if (spec.band) make("path", { d: band(spec.band, x, y), class: "band" }, svg);
    const drawn = spec.series.map((series) => drawSeries(svg, series, x, y));
    if (right > 100) endLabels(svg, spec.series, x, y, height - bottom);
    const points = spec.series.flatMap((series, s) => series.points.map((point) => ({ s, point })).filter(({ point }) => point[1] !== null));
    follow(figure, svg, spec, points, drawn, x, y);
  }

  function axes(svg, spec, x, y, right, bottom, left) {
    for (const tick of ticks(spec.y[0], spec.y[1], 5)) {
      make("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), class: tick === 0 && spec.zero ? "zero" : "grid" }, svg);
      make("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end", class: "axis" }, svg, plain(tick));
    }
    for (const tick of ticks(spec.x[0], spec.x[1], (right - left) / 60).filter(Number.isInteger)) {
      make("text", { x: x(tick), y: bottom + 15, "text-anchor": "middle", class: "axis" }, svg, plain(tick));
    }
    make("text", { x: (left + right) / 2, y: bottom + 32, "text-anchor": "middle", class: "axis" }, svg, spec.xLabel);
  }

  function band({ low, high }, x, y) {
    const up = high.map(([a, b]) => `${x(a)},${y(b)}`), down = low.map(([a, b]) => `${x(a)},${y(b)}`).reverse();
    return `M${[...up, ...down].join("L")}Z`;
  }

  function drawSeries(svg, series, x, y) {
    if (series.dots) {
      for (const [a, b] of series.points) make("circle", { cx: x(a), cy: y(b), r: 3, class: "dot" }, svg);
      return null;
    }
    const known = series.points.filter(([, b]) => b !== null);
    const path = make("path", { d: `M${known.map(([a, b]) => `${x(a)},${y(b)}`).join("L")}`, class: `line ${series.tone}` }, svg);
    if (known.length < 12) for (const [a, b] of known) make("circle", { cx: x(a), cy: y(b), r: 2.4, class: series.tone === "harmed-line" ? "harmed" : "helped" }, svg);
    return path;
  }

  // Names at the ends of the lines, pushed apart; those that find no room are left to the readout.
  function endLabels(svg, series, x, y, bottom) {
    const named = series.filter((one) => one.points.length && one.points.at(-1)[1] !== null)
      .map((one) => ({ label: one.label, x: x(one.points.at(-1)[0]), y: y(one.points.at(-1)[1]) })).sort((a, b) => a.y - b.y);
    let last = -Infinity;
    for (const one of named) {
      const at = Math.max(one.y, last + 13);
      if (at > bottom + 4) break;
      last = at;
      const clip = make("svg", { x: one.x + 6, y: at - 9, width: 142, height: 18, overflow: "hidden" }, svg);
      make("text", { x: 0, y: 13 }, clip, one.label);
    }
  }

  function follow(figure, svg, spec, points, drawn, x, y) {
    if (!points.length) return;
    const cursor = make("circle", { r: 6, cx: -20, cy: -20, class: "cursor" }, svg);
    let current = 0;
    const pick = (index) => {
      current = (index + points.length) % points.length;
      const { s, point } = points[current];
      cursor.setAttribute("cx", x(point[0]));
      cursor.setAttribute("cy", y(point[1]));
      drawn.forEach((path, i) => path && path.classList.toggle("on", i === s && drawn.length > 1));
      say(figure, spec.describe(spec.series[s], point));
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const distance = ({ point }) => Math.hypot(x(point[0]) - (event.clientX - box.left), y(point[1]) - (event.clientY - box.top));
      let best = 0;
      points.forEach((one, i) => { if (distance(one) < distance(points[best])) best = i; });
      pick(best);
    });
    svg.addEventListener("focus", () => pick(current));
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (move) { event.preventDefault(); pick(current + move); }
    });
  }

  function drawConvergence(figure, property) {
    const { n, players, lines: values } = property.convergence;
    const series = players.map((player, i) => ({
      label: data.contributors[player], points: n.map((a, k) => [a, values[i][k]]),
      tone: better(property, values[i].at(-1)) ? "helped-line" : "harmed-line",
    }));
    lines(figure, {
      series, height: 320, labels: true, zero: true, x: range(n, 0.02), y: range([0, ...values.flat()]), xLabel: "evaluations",
      describe: (one, [a, b]) => `${one.label}, after ${a} evaluations: ${words(b)}`,
    });
  }

  function drawSize(figure, property) {
    const { curve, noise, dots } = property.size;
    const series = [{ label: "one evaluation", dots: true, points: dots }];
    const fitted = (curve ?? []).map((value, size) => [size, value]);
    if (curve) series.push({ label: "fitted mean", points: fitted, tone: "helped-line" });
    const shift = (by) => fitted.map(([a, b]) => [a, b + by]);
    lines(figure, {
      series, height: 280, x: range([0, data.n_players], 0.02), y: range([...dots.map((dot) => dot[1]), ...(curve ?? [])], 0.08),
      band: curve && noise > 0 ? { low: shift(-noise), high: shift(noise) } : null, xLabel: "contributors in the coalition",
      describe: (one, [a, b]) => `${one.label}, ${a} contributors: ${words(b, false)}`,
    });
  }

  function drawMarginal(figure, property) {
    const player = Number(figure.dataset.player);
    const { sizes, fitted, pairs } = property.marginals;
    const line = fitted ? sizes.map((size, i) => [size, fitted[player][i]]) : [];
    const value = property.values[player][0];
    const series = [{ label: "measured pair", dots: true, points: pairs[player] }];
    series.push({ label: "fitted", points: line, tone: better(property, value) ? "helped-line" : "harmed-line" });
    const all = [0, ...line.map((point) => point[1]), ...pairs[player].map((pair) => pair[1])];
    lines(figure, {
      series, height: 170, zero: true, x: range([0, data.n_players - 1], 0.03), y: range(all, 0.08), xLabel: "contributors already in the group",
      describe: (one, [a, b]) => `${one.label}, joining ${plain(Number(a.toFixed(1)))}: ${words(b)}`,
    });
  }

  const DRAW = { values: drawValues, payment: drawPayment, convergence: drawConvergence, size: drawSize, marginal: drawMarginal };

  function draw(figure) {
    DRAW[figure.dataset.chart](figure, data.properties[Number(figure.dataset.property)]);
    figure.dataset.drawn = String(figure.querySelector(".plot").clientWidth);
  }

  // --- tables
  function sortBy(table, heading, column) {
    const descending = heading.getAttribute("aria-sort") !== "descending" && heading.classList.contains("n")
      || heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0], numeric = heading.classList.contains("n");
    const key = (row) => (numeric ? Number(row.cells[column].dataset.sort) : row.cells[column].dataset.sort);
    const compare = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b);
    body.append(...[...body.rows].sort((a, b) => (descending ? -1 : 1) * compare(key(a), key(b))));
  }

  // --- start
  for (const node of document.querySelectorAll("[data-needs-script]")) node.hidden = false;
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.querySelectorAll("th[aria-sort]")].forEach((heading, column) => {
      heading.querySelector(".sort-label").hidden = true;
      const button = heading.querySelector(".sort");
      button.hidden = false;
      button.addEventListener("click", () => sortBy(table, heading, column));
    });
  }
  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const redraw = (kinds) => figures.filter((one) => kinds.includes(one.dataset.chart) && one.dataset.drawn).forEach(draw);
  document.getElementById("order").addEventListener("change", (event) => { state.order = event.target.value; redraw(["values"]); });
  const showAll = document.getElementById("show-all");
  if (data.n_players > MANY) {
    const label = () => { showAll.textContent = state.all ? "Draw fewer" : `Draw all ${data.n_players} contributors`; };
    showAll.hidden = false;
    label();
    showAll.addEventListener("click", () => { state.all = !state.all; label(); redraw(["values", "payment"]); });
  }
  // Hundreds of small plots: each is drawn when it comes near the window, and all of them before printing.
  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting && !target.dataset.drawn) draw(target);
  }, { rootMargin: "600px" });
  figures.forEach((figure) => near.observe(figure));
  let pending = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => {
      for (const figure of figures) {
        if (figure.dataset.drawn && figure.dataset.drawn !== String(figure.querySelector(".plot").clientWidth)) draw(figure);
      }
    });
  });
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const figure of figures) if (!figure.dataset.drawn) draw(figure);
  });
})();
