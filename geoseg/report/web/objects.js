"use strict";
/* The panel beside the map: layers to show, the chosen object's attributes, and a list of objects. */
(() => {
  const { page, features, map, choose, show, setShown, setPatterns, listen } = globalThis.geoseg;
  const STEP = 100;
  const panel = document.querySelector("#chosen .attributes");
  const hint = document.querySelector("#chosen .hint");
  const rows = document.getElementById("rows");
  const more = document.getElementById("more");
  const select = document.getElementById("list-layer");
  const told = document.getElementById("list-count");
  let listed = [];
  let shown = 0;
  let chosen = null;

  const number = (value, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits }).replaceAll(",", "\u202f");
  const area = (m2) => (m2 >= 1e6 ? `${number(m2 / 1e6, 2)} km²` : m2 >= 1e4 ? `${number(m2 / 1e4, 2)} ha` : `${number(m2, 1)} m²`);
  const WORDS = {
    id: ["Id", String],
    part: ["Part", String],
    class: ["Class", String],
    confidence: ["Confidence", (value) => `${number(value * 100, 1)} %`],
    area_m2: ["Area", area],
    perimeter_m: ["Perimeter", (value) => `${number(value, 1)} m`],
    length_m: ["Length", (value) => `${number(value, 1)} m`],
    width_m: ["Width", (value) => `${number(value, 1)} m`],
    scene: ["Scene", String],
    date: ["Date", String],
  };
  const HIDDEN = new Set(["run"]);

  function element(name, attributes = {}, ...content) {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.append(...content);
    return made;
  }

  function say(one) {
    chosen = one;
    panel.hidden = !one;
    hint.hidden = Boolean(one);
    for (const row of rows.querySelectorAll('[aria-selected="true"]')) row.setAttribute("aria-selected", "false");
    if (!one) return;
    const said = { class: one.layer.class, ...one.feature.properties };
    const list = element("dl");
    for (const [key, value] of Object.entries(said)) {
      if (HIDDEN.has(key) || value === null || value === undefined || value === "") continue;
      const [label, words] = WORDS[key] ?? [key, String];
      list.append(element("dt", {}, label), element("dd", { "data-attribute": key }, words(value)));
    }
    const actions = element("div", { class: "actions" });
    if (one.box && map) {
      const go = element("button", { type: "button", class: "plain" }, "Zoom to it");
      go.addEventListener("click", () => show(one));
      actions.append(go);
    }
    const clear = element("button", { type: "button", class: "plain" }, "Clear");
    clear.addEventListener("click", () => choose(null));
    actions.append(clear);
    panel.replaceChildren(list, actions);
    const row = rows.children[listed.indexOf(one)];
    row?.setAttribute("aria-selected", "true");
    if (row && document.activeElement !== row) rows.scrollTop = row.offsetTop - rows.offsetTop - rows.clientHeight / 2;
  }

  function addRows() {
    const next = listed.slice(shown, shown + STEP);
    for (const one of next) {
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      dot.setAttribute("class", "dot");
      dot.setAttribute("aria-hidden", "true");
      const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [key, value] of [["width", "11"], ["height", "11"], ["rx", "3"], ["fill", one.layer.color]]) square.setAttribute(key, value);
      dot.append(square);
      const { confidence, area_m2: m2, length_m: length } = one.feature.properties;
      const figure = m2 ? area(m2) : length ? `${number(length, 1)} m` : "";
      const sure = confidence === undefined ? "" : ` · ${number(confidence * 100)} %`;
      const row = element(
        "button",
        { type: "button", class: "row", role: "option", "aria-selected": String(one === chosen), tabindex: rows.children.length ? "-1" : "0" },
        dot,
        element("span", { class: "name" }, one.layer.class),
        element("span", { class: "figure" }, `${figure}${sure}`),
      );
      row.addEventListener("click", () => choose(one, { go: true }));
      rows.append(row);
    }
    shown += next.length;
    more.hidden = shown >= listed.length;
    more.textContent = `${number(Math.min(STEP, listed.length - shown))} more`;
  }

  function list() {
    const name = select.value;
    listed = features.filter((one) => !name || one.layer.name === name);
    listed.sort((a, b) => (b.feature.properties.area_m2 ?? 0) - (a.feature.properties.area_m2 ?? 0));
    const total = page.layers.reduce((sum, layer) => sum + (!name || layer.name === name ? layer.count : 0), 0);
    const word = total === 1 ? "object" : "objects";
    const all = `${number(total)} ${word}, the largest first`;
    told.textContent = listed.length < total ? `The largest ${number(listed.length)} of ${number(total)} ${word}` : all;
    shown = 0;
    rows.replaceChildren();
    addRows();
  }

  /* One stop of the Tab key for the whole list; arrows, Home and End go within it. */
  function step(event) {
    const all = [...rows.children];
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= all.length && !more.hidden) addRows();
    const row = rows.children[Math.max(0, Math.min(to, rows.children.length - 1))];
    all[at].tabIndex = -1;
    row.tabIndex = 0;
    row.focus();
  }

  select.append(element("option", { value: "" }, "all"));
  for (const layer of page.layers) select.append(element("option", { value: layer.name }, layer.name));
  select.addEventListener("change", list);
  more.addEventListener("click", addRows);
  rows.addEventListener("keydown", step);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && chosen) choose(null);
  });
  for (const box of document.querySelectorAll("[data-layer]")) box.addEventListener("change", () => setShown(box.dataset.layer, box.checked));
  for (const box of document.querySelectorAll("[data-show]")) {
    const change = box.dataset.show === "patterns" ? setPatterns : () => setShown(`picture:${box.dataset.show}`, box.checked);
    box.addEventListener("change", change);
  }
  listen(say);
  list();
})();
