// Keeps a page in step with the service, and its table with what is typed. Pages without it are loaded anew instead.
"use strict";
(() => {
  const live = document.querySelector("#live"), pulse = document.querySelector("#pulse");
  const form = document.querySelector(".filter");
  const say = (text) => { if (pulse && pulse.textContent !== text) pulse.textContent = text; };

  // One look is under way at most; a newer question ends it, a mere change waits for it.
  let asking = null, again = false, timer = 0;
  const draw = (html) => {
    const focus = live.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const kept = [...live.querySelectorAll("[data-keep]")]; // drawn by a script: they follow on their own
    live.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    for (const old of kept) {
      const place = live.querySelector("#" + old.id);
      if (place) place.replaceWith(old);
    }
    if (focus !== null) {
      const a = [...live.querySelectorAll("a")].find((x) => x.getAttribute("href") === focus);
      if (a) a.focus({ preventScroll: true });
    }
    document.dispatchEvent(new Event("drawn"));
  };
  const refresh = async (now) => {
    if (!now && (document.hidden || asking)) { again = true; return; }
    if (asking) asking.abort();
    const mine = asking = new AbortController();
    again = false;
    try {
      const res = await fetch(live.dataset.live, { credentials: "same-origin", redirect: "error", signal: mine.signal });
      if (!res.ok) throw new Error(res.status);
      const html = await res.text();
      if (asking !== mine) return;
      draw(html);
      say("live");
    } catch {
      if (asking !== mine) return;
      say("no answer, trying again");
    }
    asking = null;
    if (again && !document.hidden) setTimeout(refresh, 2000);
  };

  if (form && live && form.dataset.part) {
    // The table follows what is typed; the address does too, so that it can be kept and sent to somebody.
    const follow = () => {
      const v = new URLSearchParams();
      for (const f of form.elements) {
        const usual = f.tagName === "SELECT" ? f.selectedIndex <= 0 : f.value.trim() === "";
        if (f.name && !usual) v.set(f.name, f.value.trim());
      }
      const q = v.size ? "?" + v : "";
      live.dataset.live = form.dataset.part + q;
      history.replaceState(null, "", form.getAttribute("action") + q);
      refresh(true);
    };
    form.addEventListener("input", (e) => {
      clearTimeout(timer);
      timer = setTimeout(follow, e.target.type === "search" ? 60 : 0);
    });
    form.addEventListener("submit", (e) => { e.preventDefault(); clearTimeout(timer); follow(); if (document.activeElement) document.activeElement.blur(); });
  } else if (form) {
    form.querySelectorAll("select").forEach((s) => s.addEventListener("change", () => form.requestSubmit()));
  }

  if (!live || !window.EventSource) return;
  const events = new EventSource("/events");
  events.addEventListener("changed", () => refresh());
  events.addEventListener("error", () => say("not live, trying again"));
  events.addEventListener("open", () => say("live"));
  document.addEventListener("visibilitychange", () => { if (!document.hidden && again) refresh(); });
})();
