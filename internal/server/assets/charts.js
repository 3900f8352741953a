// Draws the charts of a connection's page from the numbers that lie in it, and follows them. Without it the tables say the same.
"use strict";
(() => {
  const section = document.querySelector("#charts");
  if (!section || !window.uPlot) return;
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const height = 150;
  const utc = (t) => t === undefined ? "" : new Date(t * 1000).toISOString().slice(0, 19).replace("T", " ");
  const charts = [];

  const axes = (whole) => [
    { stroke: css("--dim"), grid: { show: false }, ticks: { show: false } },
    { stroke: css("--dim"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false }, size: 44, incrs: whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] : undefined },
  ];
  const line = (label, color, more) => ({ label, stroke: css(color), width: 2, points: { show: false }, ...more });
  const bars = (label, color) => ({ label, stroke: css(color), fill: css(color), width: 0, points: { show: false }, paths: uPlot.paths.bars({ size: [0.8, 30] }) });
  const from0 = { range: (u, min, max) => [0, Math.max(max || 0, 1) * 1.08] };

  const kinds = [
    {
      at: "#chart-quota", data: (s) => [s.recent.at, s.recent.used, s.recent.limit],
      series: () => [line("used", "--blue", { paths: uPlot.paths.stepped({ align: 1 }), fill: css("--soft") }), line("limit", "--amber", { dash: [6, 4] })],
      words: (s) => { const n = s.recent.at.length; return n ? `used ${s.recent.used[n - 1] ?? 0} of ${s.recent.limit[n - 1] ?? "?"}` : ""; },
      has: (s) => (s.recent.limit || []).filter((x) => x).length > 1,
    },
    {
      at: "#chart-recent", data: (s) => [s.recent.at, s.recent.requests, s.recent.refused],
      series: () => [bars("requests", "--blue"), bars("refused for quota", "--red")],
      words: (s) => `${sum(s.recent.requests)} requests, ${sum(s.recent.refused)} refused`,
      has: (s) => sum(s.recent.requests || []) > 0,
    },
    {
      at: "#chart-runs", data: (s) => [s.runs.at.map((x, i) => i), s.runs.requests, s.runs.refused], ordinal: true,
      series: () => [bars("requests", "--blue"), bars("refused for quota", "--red")],
      words: (s) => `${s.runs.at.length} runs, ${sum(s.runs.requests)} requests, ${sum(s.runs.refused)} refused`,
      has: (s) => (s.runs.at || []).length > 0,
    },
  ];
  const sum = (xs) => xs.reduce((a, b) => a + b, 0);
  const read = () => JSON.parse(document.querySelector("#series").dataset.series);

  const make = (kind, s) => {
    const box = document.querySelector(kind.at);
    const ax = axes(true);
    if (kind.ordinal) {
      // Runs stand side by side, whatever lies between them; an axis of their times would put months between two of them.
      ax[0].splits = (u) => { const n = u.data[0].length, step = Math.ceil(Math.max(n, 10) * 115 / u.width); return u.data[0].filter((i) => (n - 1 - i) % step === 0); };
      ax[0].values = (u, at) => at.map((i) => utc(kind.times[i]).slice(5, 16));
    } else {
      ax[0].values = (u, at) => at.map((t) => utc(t).slice(11, 16));
    }
    return new uPlot({
      width: Math.max(box.clientWidth, 200), height, axes: ax, legend: { live: true }, cursor: { drag: { x: false, y: false } },
      scales: { x: kind.ordinal ? { time: false, range: (u, min, max) => [min - 0.6, Math.max(max, 9) + 0.6] } : { time: true }, y: from0 },
      series: [{ label: kind.ordinal ? "began (UTC)" : "UTC", value: (u, v) => v == null ? "–" : kind.ordinal ? utc(kind.times[v]).slice(0, 16) : utc(v).slice(11) }, ...kind.series()],
    }, kind.data(s), box);
  };
  const draw = () => {
    const s = read();
    for (const kind of kinds) {
      const box = document.querySelector(kind.at), has = kind.has(s);
      box.closest("figure").hidden = !has;
      if (!has) continue;
      section.hidden = false;
      kind.times = s.runs.at;
      box.setAttribute("aria-label", kind.words(s));
      if (kind.chart) kind.chart.setData(kind.data(s)); else charts.push(kind.chart = make(kind, s));
    }
  };
  const again = () => {
    for (const kind of kinds) { if (kind.chart) kind.chart.destroy(); kind.chart = null; }
    charts.length = 0;
    draw();
  };
  draw();
  document.addEventListener("drawn", draw);
  addEventListener("resize", () => { for (const kind of kinds) if (kind.chart) kind.chart.setSize({ width: Math.max(document.querySelector(kind.at).clientWidth, 200), height }); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
})();
