"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const $ = (id) => document.getElementById(id);
  const points = [...data.points].sort((a, b) => a.x - b.x || a.y - b.y);
  const byId = new Map(points.map((point) => [point.id, point]));
  const plot = $("pareto"), tip = $("tip");
  let chosen = null;

  // Light and dark: what was chosen here before, or what the system asks for. From disk there may be no storage.
  const stored = { get: () => { try { return localStorage.getItem("ecad-theme"); } catch { return null; } },
                   set: (value) => { try { localStorage.setItem("ecad-theme", value); } catch { /* stays for this visit */ } } };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (theme) => {
    root.dataset.theme = theme;
    $("theme").setAttribute("aria-pressed", String(theme === "dark"));
    $("theme").textContent = theme === "dark" ? "Light" : "Dark";
    draw();
  };
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const groups = {
    none: ["--none", "star"], "fewer steps": ["--fewer", "square"], baseline: ["--baseline", "circle"], evolved: ["--evolved", "diamond"],
  };
  const look = (group) => groups[group] || ["--other", "triangle-up"];

  const layout = (x, y, narrow) => {
    const axis = { gridcolor: colour("--line"), zeroline: false, linecolor: colour("--line"), ticks: "outside", tickcolor: colour("--line"), fixedrange: narrow, automargin: true };
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: narrow ? false : "zoom",
      font: { family: "system-ui, sans-serif", size: 13, color: colour("--ink") }, margin: { l: 58, r: 16, t: 14, b: 48 },
      xaxis: { ...axis, title: { text: x, standoff: 8 } }, yaxis: { ...axis, title: { text: y, standoff: 6 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--faint"), activecolor: colour("--ink") },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    };
  };
  const steps = (whole, count) => { whole.xaxis.dtick = Math.max(1, Math.ceil(count / 12)); return whole; };
  const options = (narrow) => ({ responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover", modeBarButtons: [["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]], scrollZoom: false, plotlyServerURL: "" });

  function draw() {
    if (typeof Plotly === "undefined") return;
    const narrow = innerWidth < 600;
    const names = [...new Set(data.points.map((point) => point.group))];
    const traces = names.map((group) => {
      const of = points.filter((point) => point.group === group), [name, symbol] = look(group);
      const measured = of.some((point) => point.low !== null);
      return {
        type: "scatter", name: group, mode: group === "evolved" ? "lines+markers" : "markers", hoverinfo: "none", cliponaxis: false,
        x: of.map((p) => p.x), y: of.map((p) => p.y), customdata: of.map((p) => p.id),
        line: { color: colour(name), width: 1.5 },
        marker: { color: colour(name), symbol, opacity: 1, size: of.map((p) => (p.id === chosen ? 16 : group === "none" ? 13 : 9)),
                  line: { color: colour("--ink"), width: of.map((p) => (p.id === chosen ? 2.5 : 0)) } },
        error_y: measured ? { type: "data", symmetric: false, array: of.map((p) => p.high - p.y), arrayminus: of.map((p) => p.y - p.low), color: colour(name), thickness: 1, width: 0 } : undefined,
      };
    });
    const front = layout("MACs, % of recomputing everything", data.y, narrow);
    if (data.floor !== null) front.yaxis.range = [data.floor, data.ceiling];
    Plotly.react(plot, traces, front, options(narrow));
    if (data.generations.length) {
      const of = data.generations;
      Plotly.react("convergence", [{
        type: "scatter", mode: "lines+markers", x: of.map((g) => g.generation), y: of.map((g) => g.hypervolume), customdata: of.map((g) => g.front_size),
        line: { color: colour("--evolved") }, hovertemplate: "generation %{x}<br>hypervolume %{y:.4f}<br>%{customdata} on the front<extra></extra>",
      }], { ...steps(layout("generation", "hypervolume", narrow), of.length), showlegend: false, hoverlabel: { bgcolor: colour("--page"), bordercolor: colour("--line"), font: { color: colour("--ink") } } }, options(narrow));
    }
  }

  // The card beside a point. Everything in it is set as text, never as HTML.
  const element = (tag, text, className) => Object.assign(document.createElement(tag), { textContent: text ?? "", className: className ?? "" });
  const picture = (id, at) => data.pictures[id] && data.pictures[id][at];
  function show(point, x, y) {
    const strip = element("div", "", "strip");
    for (let at = 0; at < 6 && picture(point.id, at); at++) strip.append(Object.assign(new Image(), { src: picture(point.id, at), alt: "" }));
    const figures = `${point.x.toFixed(1)} % of the MACs, ${data.y} ${point.y.toFixed(3)}` + (point.low === null ? "" : ` (${point.low.toFixed(3)} to ${point.high.toFixed(3)})`);
    tip.replaceChildren(element("strong", point.name), element("div", figures), strip);
    if (point.text) tip.append(element("pre", point.text));
    tip.hidden = false;
    const box = plot.getBoundingClientRect(), width = tip.offsetWidth, height = tip.offsetHeight;
    const left = Math.min(Math.max(8, box.left + x + 16), innerWidth - width - 8);
    const below = box.top + y + 18 + height < innerHeight;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(below ? box.top + y + 18 : Math.max(4, box.top + y - height - 12)) + scrollY}px`;
  }
  const hide = () => { tip.hidden = true; };
  function showAt(point) {
    const area = plot.querySelector(".nsewdrag"), { xaxis, yaxis } = plot._fullLayout || {};
    if (!area) return;
    const inner = area.getBoundingClientRect(), outer = plot.getBoundingClientRect();
    show(point, inner.left - outer.left + xaxis.d2p(point.x), inner.top - outer.top + yaxis.d2p(point.y));
  }

  // Choosing a schedule: its article appears, its pictures are put in, its row and its point are marked.
  function choose(id, scroll) {
    if (!byId.has(id)) return;
    chosen = id;
    for (const article of document.querySelectorAll("article.schedule")) {
      article.hidden = article.id !== id;
      if (article.id === id) for (const image of article.querySelectorAll("img[data-of]")) image.src ||= picture(image.dataset.of, Number(image.dataset.at)) || "";
    }
    for (const row of document.querySelectorAll("#schedules tbody tr")) row.classList.toggle("chosen", row.dataset.of === id);
    draw();
    if (scroll) $(id).scrollIntoView({ block: "start" });
  }
  function go(id, scroll) {
    try { history.replaceState(null, "", `#${id}`); } catch { /* some readers forbid it */ }
    choose(id, scroll);
  }
  addEventListener("hashchange", () => choose(location.hash.slice(1), true));
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#s"]');
    if (link && byId.has(link.hash.slice(1))) { event.preventDefault(); hide(); go(link.hash.slice(1), true); $(chosen).focus({ preventScroll: true }); }
  });
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (event.key === "Escape") hide();
    else if (event.key === "Enter" && chosen) { event.preventDefault(); hide(); $(chosen).scrollIntoView({ block: "start" }); $(chosen).focus({ preventScroll: true }); }
    else if (step) {
      event.preventDefault();
      const at = points.findIndex((point) => point.id === chosen);
      const next = points[Math.min(points.length - 1, Math.max(0, at + step))];
      go(next.id, false);
      showAt(next);
    }
  });
  plot.addEventListener("blur", hide);
  addEventListener("scroll", hide, { passive: true });

  // Sorting. A column first goes up, then down; what has no figure stays below.
  for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => { const text = row.cells[column].dataset.sort; return button.dataset.kind === "text" ? text : Number.parseFloat(text); };
    const missing = (value) => typeof value === "number" && Number.isNaN(value);
    const order = (a, b) => typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
    const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
    rows.sort(([a], [b]) => missing(a) || missing(b) ? missing(a) - missing(b) : (down ? order(b, a) : order(a, b)));
    table.tBodies[0].append(...rows.map(([, row]) => row));
  });

  $("theme").addEventListener("click", () => { const next = root.dataset.theme === "dark" ? "light" : "dark"; stored.set(next); setTheme(next); });
  system.addEventListener("change", (event) => { if (!stored.get()) setTheme(event.matches ? "dark" : "light"); });
  setTheme(stored.get() || (system.matches ? "dark" : "light"));
  if (typeof Plotly !== "undefined") {
    plot.on("plotly_hover", (event) => showAt(byId.get(event.points[0].customdata)));
    plot.on("plotly_unhover", hide);
    plot.on("plotly_click", (event) => { hide(); go(event.points[0].customdata, false); });
  }
  let width = innerWidth;
  addEventListener("resize", () => { if ((width < 600) !== (innerWidth < 600)) draw(); width = innerWidth; });
  choose(byId.has(location.hash.slice(1)) ? location.hash.slice(1) : data.first, false);
})();
