"use strict";
// Sorting, filtering, choice of columns, CSV of what is on screen, explanations, charts, light and dark.
// The order of a table is stated by aria-sort alone; every text gets into the page as text, never as markup.

const asNumber = (cell) => {
  if (cell.dataset.value !== undefined) return parseFloat(cell.dataset.value);
  const match = cell.textContent.replaceAll(",", "").match(/[-+−]?\d+(\.\d+)?(e[-+]?\d+)?/i);
  return match ? parseFloat(match[0].replace("−", "-")) : NaN;
};

function sortBy(table, heading) {
  const ascending = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const index = heading.cellIndex, body = table.tBodies[0], sign = ascending ? 1 : -1;
  const numeric = [...body.rows].some((row) => row.cells[index].dataset.value !== undefined) || (index > 0
    && [...body.rows].some((row) => !Number.isNaN(asNumber(row.cells[index]))));
  const key = (row) => (numeric ? asNumber(row.cells[index]) : row.cells[index].textContent.trim());
  const compare = (a, b) => {
    if (!numeric) return sign * a.localeCompare(b, "en");
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);  // missing values come last
    return sign * (a - b);
  };
  body.append(...[...body.rows].map((row) => [key(row), row]).sort((a, b) => compare(a[0], b[0])).map((pair) => pair[1]));
}

function makeSortable(table) {
  if (!table.tHead || table.tBodies[0].rows.length < 2) return;
  for (const heading of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, heading));
    heading.append(button);
    if (!heading.hasAttribute("aria-sort")) heading.setAttribute("aria-sort", "none");
  }
}

function showColumns(table, chosen) {
  const headings = [...table.tHead.rows[0].cells];
  const visible = headings.map((each) => !each.dataset.sections
    || each.dataset.sections.split(" ").some((section) => chosen.has(section)));
  for (const row of table.rows) [...row.cells].forEach((cell, k) => { cell.hidden = !visible[k]; });
}

function filterRows(table, words, output) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    const text = `${row.cells[0].textContent} ${row.dataset.text || ""}`.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    if (!row.hidden) shown += 1;
  }
  output.textContent = wanted.length ? `${shown} of ${table.tBodies[0].rows.length} rows` : "";
}

const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const notFormula = (text) => (/^[=+@\t\r]|^-(?![\d.])/.test(text) ? `'${text}` : text);

function asCsv(table) {
  const headings = [...table.tHead.rows[0].cells];
  const shown = headings.map((each, k) => k).filter((k) => !headings[k].hidden);
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const intervals = new Set(shown.filter((k) => rows.some((row) => row.cells[k].dataset.half !== undefined)));
  const withInterval = (k, value, half) => (intervals.has(k) ? [value, half] : [value]);
  const lines = [shown.flatMap((k) => {
    const name = headings[k].dataset.name || headings[k].textContent.trim();
    return withInterval(k, name, `${name} (half of the 95 % interval)`);
  })];
  for (const row of rows) {
    lines.push(shown.flatMap((k) => {
      const cell = row.cells[k];
      return withInterval(k, cell.dataset.value ?? cell.textContent.trim(), cell.dataset.half ?? "");
    }));
  }
  return lines.map((line) => line.map((text) => quoted(notFormula(text))).join(",")).join("\n") + "\n";
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function makeExplorer(explorer) {
  const table = explorer.querySelector("table"), boxes = [...explorer.querySelectorAll("input[type=checkbox]")];
  const search = explorer.querySelector("input[type=search]"), output = explorer.querySelector("output");
  const update = () => showColumns(table, new Set(boxes.filter((box) => box.checked).map((box) => box.value)));
  boxes.forEach((box) => box.addEventListener("change", update));
  if (boxes.length) update();
  search?.addEventListener("input", () => filterRows(table, search.value, output));
  explorer.querySelector("button.csv")?.addEventListener("click", () => download(`${table.dataset.name}.csv`, asCsv(table)));
}

function makeTips() {
  const source = document.getElementById("explanations");
  const texts = source ? JSON.parse(source.textContent) : {};
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip);
  const hide = () => { tip.hidden = true; };
  const show = (target, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const box = target.getBoundingClientRect();
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left) + window.scrollX}px`;
    tip.style.top = `${box.bottom + window.scrollY + 6}px`;
  };
  for (const heading of document.querySelectorAll("th[data-term]")) {
    const text = texts[heading.dataset.term];
    if (!text) continue;
    const target = heading.querySelector("button") || heading;
    target.setAttribute("aria-description", text);
    heading.addEventListener("mouseenter", () => show(heading, text));
    heading.addEventListener("mouseleave", hide);
    target.addEventListener("focus", () => show(heading, text));
    target.addEventListener("blur", hide);
  }
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
}

function themeConfig() {
  const style = getComputedStyle(document.documentElement), get = (name) => style.getPropertyValue(name).trim();
  const axis = { labelColor: get("--text"), titleColor: get("--text"), gridColor: get("--line"), domainColor: get("--quiet"),
    tickColor: get("--quiet"), titleFontWeight: 500 };
  return {
    palette: Array.from({ length: 10 }, (_, k) => get(`--c${k}`)),
    ink: get("--text"),
    config: { background: "transparent", font: "system-ui, sans-serif", axis, view: { stroke: get("--line") },
      text: { color: get("--text") } },
  };
}

// In the specifications "palette:3" stands for a colour of the theme, and "ink" for that of text.
function themed(value, theme) {
  if (typeof value === "string") {
    if (value.startsWith("palette:")) return theme.palette[Number(value.slice(8))];
    return value === "theme:ink" ? theme.ink : value;
  }
  if (Array.isArray(value)) return value.map((each) => themed(each, theme));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, themed(each, theme)]));
  }
  return value;
}

async function drawCharts() {
  const theme = themeConfig();
  for (const element of document.querySelectorAll(".chart")) {
    const { data, ...spec } = JSON.parse(element.nextElementSibling.textContent);
    const options = { actions: false, renderer: "svg", config: theme.config, tooltip: { theme: "custom" } };
    await vegaEmbed(element, { ...themed(spec, theme), data }, options);
    element.dataset.drawn = "yes";
  }
}

function makeThemeButton() {
  const button = document.getElementById("theme"), root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* a page from a file may have no storage */ }
    name();
    if (window.vegaEmbed) drawCharts();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    name();
    if (window.vegaEmbed) drawCharts();
  });
  name();
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function curveTable(name, curve) {
  const columns = Object.keys(curve), rows = curve[columns[0]].map((_, k) => columns.map((column) => curve[column][k]));
  const number = (value) => element("td", { "data-value": value }, String(Number(value.toPrecision(5))));
  const head = element("thead", {}, element("tr", {}, ...columns.map((text) => element("th", { scope: "col" }, text))));
  const body = element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(number))));
  const table = element("table", { class: "sortable" }, element("caption", { class: "hidden-text" }, name), head, body);
  makeSortable(table);
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);
}

// The curves of a record are tables that are built where the reader opens them.
function makeCurves() {
  const place = document.getElementById("curves");
  if (!place) return;
  for (const [name, curve] of Object.entries(JSON.parse(place.nextElementSibling.textContent))) {
    const details = element("details", {}, element("summary", {}, name));
    details.addEventListener("toggle", () => details.append(curveTable(name, curve)), { once: true });
    place.append(details);
  }
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".explorer").forEach(makeExplorer);
makeCurves();
makeTips();
makeThemeButton();
if (window.vegaEmbed) drawCharts();
