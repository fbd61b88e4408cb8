// The log page's own script: what HTML alone cannot do. Everything here is a comfort; the pages work without it.
(() => {
  "use strict";
  // Set here and not in a <meta>, so that it holds on a portal's own pages with a widget too. htmx reads it at DOMContentLoaded.
  Object.assign(htmx.config, {
    includeIndicatorStyles: false, allowEval: false, selfRequestsOnly: true, historyEnabled: false, historyCacheSize: 0,
    timeout: 15000, scrollBehavior: "instant",
  });

  const $ = (id) => document.getElementById(id);
  const WATCHED_MS = 120000; // so long after the last sign of a reader news is asked for at the quick pace
  const QUICK_MS = 750, QUIET_MS = 1500; // quick while things change; the more answers bring nothing, the nearer to quiet
  const SLOWEST_MS = 30000;
  let lastSign = Date.now();
  let lost = 0;

  // --- the viewer's zone, for whoever has none in the portal ---
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const isSecure = location.protocol === "https:";
  const zoneIs = `${isSecure ? "__Host-" : ""}whatsapp_logs_zone=${zone}`;
  if (zone && !document.cookie.split("; ").includes(zoneIs)) {
    document.cookie = `${zoneIs}; path=/; max-age=31536000; samesite=lax${isSecure ? "; secure" : ""}`;
  }

  // --- live: every [data-wl-live] asks for its news, each at its own pace, while the page is seen ---
  const due = new WeakMap();
  const asked = new WeakMap();

  const silence = new WeakMap(); // how many answers in a row brought nothing

  const pace = (element) => {
    if (Date.now() - lastSign >= WATCHED_MS) return Number(element.dataset.wlLive);
    return Math.min(QUICK_MS + 250 * (silence.get(element) ?? 0), QUIET_MS);
  };

  const tick = () => {
    if (document.hidden) return;
    const now = Date.now();
    clear(now);
    age();
    countDown();
    for (const element of document.querySelectorAll("[data-wl-live]")) {
      if (now >= (due.get(element) ?? now) && !element.classList.contains("htmx-request")) {
        due.set(element, now + pace(element));
        asked.set(element, now);
        htmx.trigger(element, "wl:poll");
      }
    }
  };

  // Minutes and hours count on between two answers, by the server's clock; days are for the server, which knows the reader's zone.
  let drawn = "";
  let drawnAt = 0;
  const age = () => {
    const now = $("wl-list")?.dataset.wlNow;
    if (!now) return;
    if (now !== drawn) [drawn, drawnAt] = [now, performance.now()];
    const moment = Date.parse(drawn) + performance.now() - drawnAt;
    for (const element of document.querySelectorAll("#wl-list time[data-wl-age]")) {
      const seconds = (moment - Date.parse(element.dateTime)) / 1000;
      const minutes = Math.floor(seconds / 60);
      const words = seconds < 45 ? "just now" : minutes < 60 ? `${Math.max(1, minutes)} min ago` : `${Math.floor(minutes / 60)} h ago`;
      if (element.firstChild.data !== words) element.firstChild.data = words;
    }
  };

  // How long free text still reaches a customer, by the server's clock; when the time is up, the sentence says so.
  const drawnFirst = new WeakMap();
  const countDown = () => {
    for (const line of document.querySelectorAll("[data-wl-until]")) {
      if (!drawnFirst.has(line)) drawnFirst.set(line, performance.now());
      const moment = Date.parse(line.dataset.wlClock) + performance.now() - drawnFirst.get(line);
      const seconds = (Date.parse(line.dataset.wlUntil) - moment) / 1000;
      const minutes = Math.floor(seconds / 60);
      const words = minutes >= 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : minutes > 0 ? `${minutes} min` : "less than a minute";
      const left = line.querySelector("[data-wl-left]");
      if (seconds <= 0) {
        line.removeAttribute("data-wl-until");
        line.textContent = "The 24 hours are over: from now on only approved templates reach this customer.";
        line.setAttribute("role", "status");
      } else if (left && left.textContent !== words) left.textContent = words;
    }
  };

  // An outcome that has been read goes away by itself.
  const goneAt = new WeakMap();
  const clear = (now) => {
    for (const element of document.querySelectorAll("[data-wl-gone-after]")) {
      if (!goneAt.has(element)) goneAt.set(element, now + Number(element.dataset.wlGoneAfter));
      else if (now >= goneAt.get(element) && !element.contains(document.activeElement)) {
        const place = document.createElement("div");
        place.id = element.id;
        element.replaceWith(place);
      }
    }
  };

  const say = (text) => {
    const place = $("wl-dialog")?.open ? $("wl-said-inside") : $("wl-said");
    if (place) place.textContent = text;
  };

  const show = (state, text) => {
    const line = $("wl-state");
    if (!line || (line.dataset.state === state && $("wl-state-text").textContent === text)) return;
    line.dataset.state = state;
    $("wl-state-text").textContent = text;
  };

  const connected = () => {
    if (lost) say("The connection is back.");
    lost = 0;
    if ($("wl-state")) show("live", "Live");
  };

  const disconnected = (status) => {
    lost += 1;
    const texts = {
      401: "You are signed out. Reload the page to sign in.",
      403: "You may no longer see this. Reload the page.",
      503: "The log cannot be reached just now. Trying again…",
    };
    const text = texts[status] ?? (status ? "The server does not answer properly. Trying again…" : "Connection lost. Trying again…");
    if (lost === 1) say(text);
    show("lost", text);
  };

  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const element = detail.elt;
    if (!element.matches?.("[data-wl-live]") || detail.requestConfig.verb !== "get") return;
    const now = Date.now();
    silence.set(element, detail.xhr.status === 204 ? (silence.get(element) ?? 0) + 1 : 0);
    if (detail.successful) connected();
    else disconnected(detail.xhr.status);
    // Back off with the server's answer time, and further with every failure in a row.
    const wait = lost ? 1000 * 2 ** Math.min(lost, 5) : Math.max(pace(element), 6 * (now - (asked.get(element) ?? now)));
    due.set(element, now + Math.min(wait, SLOWEST_MS));
  });

  // --- a press that failed says why, in the server's words ---
  const reason = (xhr) => {
    const words = xhr?.status ? new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector(".wl-lead") : null;
    return words?.textContent ?? "The connection was lost. Nothing was changed; try again.";
  };
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const form = detail.elt;
    if (detail.requestConfig.verb !== "post" || detail.successful || form.matches("textarea")) return; // who writes is not told
    const notice = form.previousElementSibling?.matches(".wl-refused") ? form.previousElementSibling : document.createElement("p");
    notice.className = "wl-notice wl-bad wl-refused";
    notice.setAttribute("role", "alert");
    notice.textContent = reason(detail.xhr);
    form.before(notice);
  });

  // --- the focus stays where somebody has pressed, or goes to what the press has brought ---
  let pressed = "";
  document.addEventListener("htmx:beforeRequest", ({ detail }) => {
    if (detail.requestConfig.verb === "post") pressed = document.activeElement?.id ?? "";
  });
  document.addEventListener("htmx:afterSettle", ({ detail }) => {
    if (detail.requestConfig?.verb !== "post" || (document.activeElement && !document.activeElement.matches("body, dialog"))) return;
    ($(pressed) ?? $("wl-message-title") ?? $("wl-refresh-all"))?.focus();
  });

  // --- what somebody types while an answer is under way is theirs ---
  Idiomorph.defaults.ignoreActiveValue = true;

  // --- an open menu stays open while the list around it changes; Escape and a press elsewhere close it ---
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => !(name === "open" && element.localName === "details");
  const closeMenu = () => {
    const menu = document.querySelector(".wl-export[open]");
    if (menu) menu.open = false;
    return menu;
  };
  document.addEventListener("click", ({ target }) => { if (!target.closest?.(".wl-export") || target.closest(".wl-menu a")) closeMenu(); });

  // --- what changed, in one sentence and one quiet flash ---
  const rows = (root) => new Map([...root.querySelectorAll("[data-wl-row]")].map((row) => [row.id, row.dataset.wlRow]));
  let before = new Map();
  document.addEventListener("htmx:beforeSwap", () => { before = rows(document); });
  document.addEventListener("htmx:afterSettle", ({ detail }) => {
    if (detail.requestConfig?.verb !== "get" || !before.size) return;
    const changed = [...document.querySelectorAll("[data-wl-row]")].filter(
      (row) => before.get(row.id) !== row.dataset.wlRow && (before.has(row.id) || row.id !== "wl-message"),
    );
    for (const row of changed) {
      row.classList.remove("wl-changed");
      void row.offsetWidth; // begins the animation anew
      row.classList.add("wl-changed");
    }
    const told = $("wl-dialog")?.open ? changed.filter((row) => row.id === "wl-message") : changed;
    if (told.length === 1) say(`${told[0].dataset.wlSaid}.`);
    else if (told.length) say(`${told.length} messages changed.`);
    before = rows(document);
  });

  // --- the message in a dialog; the focus returns to where it came from ---
  const dialog = $("wl-dialog");
  let opener = null;

  const open = async (link) => {
    opener = link.id;
    $("wl-details").innerHTML = '<p class="wl-message wl-soft" id="wl-loading">Loading the message…</p>';
    if (!dialog.open) dialog.showModal();
    try {
      await htmx.ajax("GET", link.href, { target: "#wl-details", swap: "innerHTML" });
    } catch { /* said below */ }
    if ($("wl-loading")) {
      $("wl-loading").innerHTML = '<span role="alert">The message cannot be shown just now.</span> <a>Open it as a page</a>';
      $("wl-loading").querySelector("a").href = link.href;
      $("wl-loading").querySelector("a").focus();
    }
    $("wl-message-title")?.focus();
  };

  dialog?.addEventListener("close", () => {
    $("wl-details").replaceChildren();
    (document.getElementById(opener) ?? document.querySelector(".wl-open"))?.focus();
  });
  dialog?.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.wl-open, a.wl-open-inside");
    if (!link || !dialog || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    open(link);
  });

  // --- keyboard ---
  const step = (by) => {
    const links = [...document.querySelectorAll(".wl-open")];
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? 0 : Math.max(0, Math.min(links.length - 1, at + by))];
    next?.focus();
    next?.closest("tr")?.scrollIntoView({ block: "nearest" });
  };
  const keys = {
    "/": () => {
      if ($("wl-fold")) $("wl-fold").open = true; // on a narrow screen
      $("wl-phone")?.focus();
    },
    j: () => step(1),
    k: () => step(-1),
    c: () => (document.activeElement?.closest("[data-wl-row]") ?? $("wl-message"))?.querySelector(".wl-talk-link")?.click(),
    r: () => ($("wl-ask") ?? $("wl-refresh-all"))?.click(),
    "?": () => $("wl-keys")?.showModal(),
  };
  document.addEventListener("keydown", (event) => {
    lastSign = Date.now();
    if (event.key === "Escape") {
      $("wl")?.classList.add("wl-quiet-tips");
      closeMenu()?.querySelector("summary").focus();
      if (event.target.matches?.(".wl-filters input")) event.target.blur();
    }
    const typing = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !$("wl") || !(event.key in keys)) return;
    if (document.querySelector("dialog[open]") && !"rc".includes(event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });

  const sign = () => { lastSign = Date.now(); $("wl")?.classList.remove("wl-quiet-tips"); };
  for (const name of ["pointermove", "focusin", "scroll"]) document.addEventListener(name, sign, { passive: true });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { lastSign = Date.now(); tick(); } });
  window.addEventListener("online", () => { lost = 0; tick(); });

  document.addEventListener("DOMContentLoaded", () => {
    if ($("wl-show-keys")) {
      $("wl-show-keys").hidden = false;
      $("wl-show-keys").addEventListener("click", keys["?"]);
    }
    age();
    const begin = Date.now() + 1000;
    for (const element of document.querySelectorAll("[data-wl-live]")) due.set(element, begin);
    setInterval(tick, 200);
  });
})();
