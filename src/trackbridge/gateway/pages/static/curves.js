"use strict";

// Curves: the server sends what a chart of this width can show; a part that is dragged over is asked for anew.
(() => {
  const HEIGHT = 300;
  const LIVE_MS = 3000;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const TIMES = [  // of the axis: for steps of so many seconds, what each tick says, and what it adds in a new year, day or minute
    [86400 * 365, "{YYYY}", null, null, null, null, null, null, 1],
    [86400 * 28, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
    [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
    [0.001, ":{ss}.{fff}", "\n{YYYY}-{MM}-{DD} {HH}:{mm}", null, "\n{MM}-{DD} {HH}:{mm}", null, "\n{HH}:{mm}", null, 1],
  ];
  const reach = (chart) => Math.max(260, Math.floor(chart.clientWidth));

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function addressOf(chart, range) {
    const query = new URLSearchParams({
      metric: chart.dataset.metric, x: chart.dataset.x, log: chart.dataset.log,
      smooth: chart.dataset.smooth, width: String(reach(chart)),
    });
    for (const id of chart.dataset.runs.split(" ")) query.append("run", id);
    for (const id of chart.dataset.experiments.split(" ")) query.append("experiment", id);
    if (range) { query.set("low", String(range[0])); query.set("high", String(range[1])); }
    return `/curves?${query}`;
  }

  function seriesOf(found, runs) {
    const series = [{ label: { step: "step", time: "time", relative: "seconds" }[found.axis] }];
    if (found.axis === "time") series[0].value = "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}";
    const tables = [];
    for (const one of found.series) {
      const index = runs.indexOf(one.run);
      const stroke = colour(`--s${index % 8}`);
      const dash = [[], [6, 3], [2, 3]][Math.floor(index / 8) % 3];
      const points = { show: one.xs.length === 1 };
      if (one.faint_xs) {
        tables.push([one.faint_xs, one.faint]);
        series.push({ label: `${one.label} (raw)`, stroke: `${stroke}55`, width: 1, points, spanGaps: true });
      }
      tables.push([one.xs, one.values]);
      series.push({ label: one.label, stroke, dash, width: 1.5, points, spanGaps: true });
    }
    return { series, data: tables.length ? uPlot.join(tables) : [[]] };
  }

  function told(found) {
    const points = found.series.reduce((sum, one) => sum + one.points, 0);
    const parts = [`${points.toLocaleString("en")} points`];
    if (found.left_out) parts.push(`${found.left_out.toLocaleString("en")} cannot be drawn`);
    return parts.join(", ");
  }

  class Chart {
    constructor(place) {
      this.place = place;
      this.range = null;
      this.asked = 0;
      this.whole = place.closest("figure").querySelector("[data-whole]");
      this.whole.addEventListener("click", () => this.zoom(null));
      this.width = reach(place);
      new ResizeObserver(() => { if (reach(place) !== this.width) this.load(); }).observe(place);
      dark.addEventListener("change", () => this.found && this.draw());
      this.load();
    }

    zoom(range) {
      this.range = range;
      this.whole.hidden = range === null;
      this.load();
    }

    async load() {
      clearTimeout(this.next);
      const number = (this.asked += 1);
      this.width = reach(this.place);
      const answer = await fetch(addressOf(this.place, this.range)).catch(() => null);  // the server is away
      if (number !== this.asked) return;
      const isAway = answer === null && this.found;  // what is drawn stays
      if (!isAway && !answer?.ok) { this.place.textContent = "The curves could not be read; load the page again."; return; }
      if (!isAway) { this.found = await answer.json(); this.draw(); }
      if (this.found.is_live) this.next = setTimeout(() => this.load(), LIVE_MS);
    }

    draw() {
      const { series, data } = seriesOf(this.found, this.place.dataset.runs.split(" "));
      const axis = { stroke: colour("--ink"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
      const options = {
        width: this.width, height: HEIGHT, series,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
        scales: { x: { time: this.found.axis === "time" }, y: { distr: this.place.dataset.log ? 3 : 1 } },
        axes: [this.found.axis === "time" ? { ...axis, values: TIMES, space: 75 } : axis, { ...axis, size: 70 }],
        cursor: { drag: { setScale: false } },
        hooks: { setSelect: [(plot) => this.select(plot)] },
      };
      if (this.range) options.scales.x.range = this.range;
      this.place.replaceChildren();
      new uPlot(options, data, this.place);
      this.place.closest("figure").querySelector("[data-told]").textContent = told(this.found);
      this.place.dataset.drawn = String(Number(this.place.dataset.drawn || 0) + 1);
    }

    select(plot) {
      const { left, width } = plot.select;
      if (width < 3) return;
      this.zoom([plot.posToVal(left, "x"), plot.posToVal(left + width, "x")]);
    }
  }

  for (const place of document.querySelectorAll(".chart")) new Chart(place);
})();
