// Everything here adds to pages that work without it: keys, and a question before what cannot be undone.
"use strict";
(() => {
  const $ = (s) => document.querySelector(s);
  let at = -1, key = null;
  const rows = () => [...document.querySelectorAll("tbody tr[data-key]")];
  const mark = (n, scroll) => {
    const all = rows();
    all.forEach((r) => { r.classList.remove("at"); r.removeAttribute("aria-current"); });
    if (!all.length || n < 0) { at = -1; key = null; return; }
    at = Math.min(n, all.length - 1);
    key = all[at].dataset.key;
    all[at].classList.add("at");
    all[at].setAttribute("aria-current", "true");
    if (scroll) all[at].scrollIntoView({ block: "nearest" });
  };
  // A table that was drawn anew keeps its mark, on the same row.
  document.addEventListener("drawn", () => { if (key !== null) mark(rows().findIndex((r) => r.dataset.key === key), false); });

  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
    if (typing) { if (e.key === "Escape") e.target.blur(); return; }
    const help = $("#help");
    if (help && help.open) { if (e.key === "?") help.close(); return; }
    if (e.key === "/") { const q = $("#q"); if (q) { e.preventDefault(); q.focus(); q.select(); } }
    else if (e.key === "j") mark(at + 1, true);
    else if (e.key === "k") mark(Math.max(at - 1, 0), true);
    else if (e.key === "g") location.href = "/";
    else if (e.key === "?" && help) help.showModal();
    else if (e.key === "Enter" && at >= 0 && !e.target.closest("a,button")) {
      const r = rows()[at];
      const a = r && r.querySelector("a[data-open]");
      if (a) a.click();
    }
  });
  const show = $("#keys");
  if (show) { show.hidden = false; show.addEventListener("click", () => $("#help").showModal()); }

  document.addEventListener("submit", (e) => {
    const ask = e.submitter && e.submitter.dataset.ask;
    if (ask && !confirm(ask)) e.preventDefault();
  });
})();
