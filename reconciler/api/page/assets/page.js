// Live updates: each part of the page that has changed comes as a server-sent event. All else works without.
"use strict";

const main = document.querySelector("main[data-events]");

function replace(name, html) {
  const part = document.getElementById("live-" + name);
  // Whoever is at a link or a table in it is not thrown out.
  if (!part || part.contains(document.activeElement)) return;
  const open = new Set([...part.querySelectorAll("details[open][id]")].map((each) => each.id));
  part.innerHTML = html;
  for (const each of part.querySelectorAll("details[id]")) each.open = open.has(each.id);
}

function follow() {
  const live = document.getElementById("live");
  const source = new EventSource(main.dataset.events);
  source.addEventListener("parts", (event) => {
    for (const [name, html] of Object.entries(JSON.parse(event.data))) replace(name, html);
    live.textContent = "live";
    // A tab in the background says it too.
    const headline = document.querySelector("h1.headline");
    if (headline) document.title = headline.textContent + document.title.slice(document.title.indexOf(" · "));
  });
  source.addEventListener("error", () => {
    live.textContent = source.readyState === EventSource.CLOSED ? "not live: load again" : "connecting…";
  });
  return source;
}

if (main) {
  // A browser opens few connections to one site: a page that nobody sees gives its own back.
  let source = document.hidden ? null : follow();
  document.addEventListener("visibilitychange", () => {
    if (source) source.close();
    source = document.hidden ? null : follow();
  });
}
