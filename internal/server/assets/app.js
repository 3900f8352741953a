// Everything here adds to pages that work without it: live tables, and keys.
"use strict";
(() => {
  const $ = (s) => document.querySelector(s);
  let at = -1;
  const rows = () => [...document.querySelectorAll("tbody tr[data-key]")];
  const mark = (n, scroll) => {
    const all = rows();
    all.forEach((r) => r.classList.remove("at"));
    if (!all.length || n < 0) { at = -1; return; }
    at = Math.min(n, all.length - 1);
    all[at].classList.add("at");
    if (scroll) all[at].scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
    if (typing) { if (e.key === "Escape") e.target.blur(); return; }
    const help = $("#help");
    if (help && help.open) return;
    if (e.key === "/") { const q = $("#q"); if (q) { e.preventDefault(); q.focus(); q.select(); } }
    else if (e.key === "j") mark(at + 1, true);
    else if (e.key === "k") mark(Math.max(at - 1, 0), true);
    else if (e.key === "g") location.href = "/";
    else if (e.key === "?" && help) help.showModal();
    else if (e.key === "Enter" && at >= 0 && !e.target.closest("a,button")) {
      const r = rows()[at];
      if (r) location.href = r.dataset.key;
    }
  });
  document.querySelectorAll(".filter select").forEach((s) => s.addEventListener("change", () => s.form.requestSubmit()));

  document.addEventListener("submit", (e) => {
    const ask = e.submitter && e.submitter.dataset.ask;
    if (ask && !confirm(ask)) e.preventDefault();
  });

  const live = $("#live");
  if (!live || !window.EventSource) return;
  const pulse = $("#pulse");
  let busy = false, again = false;
  const refresh = async () => {
    if (document.hidden || busy) { again = true; return; }
    busy = true; again = false;
    try {
      const res = await fetch(live.dataset.live, { credentials: "same-origin", redirect: "error" });
      if (!res.ok) throw new Error(res.status);
      const html = await res.text();
      const focus = document.activeElement && live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      const key = at >= 0 && rows()[at] ? rows()[at].dataset.key : null;
      const fresh = new DOMParser().parseFromString(html, "text/html").body;
      live.replaceChildren(...fresh.childNodes);
      if (key !== null) mark(rows().findIndex((r) => r.dataset.key === key), false);
      if (focus !== null) { const a = [...live.querySelectorAll("a")].find((x) => x.getAttribute("href") === focus); if (a) a.focus({ preventScroll: true }); }
      if (pulse) pulse.textContent = "live";
    } catch { if (pulse) pulse.textContent = "no answer, trying again"; }
    busy = false;
    if (again && !document.hidden) setTimeout(refresh, 2000);
  };
  const events = new EventSource("/events");
  events.addEventListener("changed", refresh);
  events.addEventListener("error", () => { if (pulse) pulse.textContent = "not live, trying again"; });
  events.addEventListener("open", () => { if (pulse) pulse.textContent = "live"; });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) refresh(); });
})();
