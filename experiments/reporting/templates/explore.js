"use strict";
(() => {
  const page = JSON.parse(document.getElementById("explore-data").textContent);
  const section = document.getElementById("explore");
  const inputs = [...section.querySelectorAll("input, select")];
  const named = (name) => inputs.filter((input) => input.name === name);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const views = {};
  let focus = -1;

  const columns = (table) => Object.keys(table);
  const flows = page.flows.seed.map((_, flow) => {
    const row = { flow };
    for (const name of columns(page.flows)) row[name] = page.flows[name][flow];
    let rest = row.place;
    for (let axis = page.axes.length - 1; axis > 0; axis--) {
      row["axis" + axis] = page.axes[axis].labels[rest % page.axes[axis].labels.length];
      rest = Math.floor(rest / page.axes[axis].labels.length);
    }
    if (page.axes.length) row.axis0 = page.axes[0].labels[row.series];
    return row;
  });
  const points = page.points
    ? page.points.flow.map((flow, i) => {
        const row = Object.assign({}, flows[flow]);
        for (const name of columns(page.points)) row[name] = page.points[name][i];
        return row;
      })
    : [];

  function shown() {
    const boxes = named("series");
    return boxes.length ? boxes.filter((box) => box.checked).map((box) => Number(box.value)) : [0];
  }

  function place() {
    return named("place").reduce((sum, slider) => sum * (Number(slider.max) + 1) + Number(slider.value), 0);
  }

  function theme() {
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line, paper] = ["--ink", "--soft", "--line", "--paper"].map((n) => style.getPropertyValue(n).trim());
    const colours = page.axes.length ? page.axes[0].colours : ["#0072B2"];
    const text = { labelColor: ink, titleColor: ink, titleFontWeight: "normal", labelFontSize: 12, titleFontSize: 12.5 };
    return {
      background: paper,
      font: getComputedStyle(document.body).fontFamily,
      range: { category: colours.map((colour) => style.getPropertyValue("--" + colour.slice(1).toLowerCase()).trim() || colour) },
      axis: Object.assign({ gridColor: line, domainColor: soft, tickColor: soft }, text),
      legend: Object.assign({ symbolFillColor: soft, symbolStrokeColor: soft }, text),
      view: { stroke: "transparent" },
    };
  }

  // A scale for all values, those that are not shown too, so that boxes and sliders do not move the frame.
  function fit(encoding, values, logarithmic) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (value !== null && value < low) low = value;
      if (value !== null && value > high) high = value;
    }
    const type = logarithmic && low > 0 && high > 3 * low ? "log" : "linear";
    const factor = Math.pow(high / low, 0.03);
    const room = 0.03 * (high - low) || 0.5 * Math.abs(high) || 1;
    const domain = type === "log" ? [low / factor, high * factor] : [low - room, high + room];
    encoding.scale = { type, domain, nice: false };
    encoding.axis.format = type === "log" && high > 1e4 * low ? "~e" : "~g";
  }

  function specification(name) {
    const spec = JSON.parse(JSON.stringify(page.charts[name]));
    const rows = name === "limits" ? { flows } : { points };
    spec.datasets = rows;
    spec.config = theme();
    const initial = { shown: shown(), place: place(), focus };
    for (const parameter of spec.params) if (parameter.name in initial) parameter.value = initial[parameter.name];
    for (const layer of spec.layer) {
      for (const channel of ["x", "y"]) {
        const encoding = layer.encoding[channel];
        if (name === "limits") {
          const field = named(channel)[0].value;
          Object.assign(encoding, { field, title: page.quantities[field] });
          fit(encoding, page.flows[field], named("log")[0].checked);
        } else {
          const time = channel === "x";
          fit(encoding, page.points[time ? "time" : name], time || named("log")[0].checked);
        }
      }
    }
    return spec;
  }

  function tell(signal, value) {
    for (const view of Object.values(views)) view.signal(signal, value).runAsync();
  }

  function fields(name) {
    return name === "limits" ? [named("x")[0].value, named("y")[0].value] : ["time", name];
  }

  function distance(x, y, from, to) {
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const length = dx * dx + dy * dy;
    const part = length ? Math.max(0, Math.min(1, ((x - from.x) * dx + (y - from.y) * dy) / length)) : 0;
    return Math.hypot(from.x + part * dx - x, from.y + part * dy - y);
  }

  // The row whose mark, or whose curve before it, is nearest to a place in a chart, within 30 pixels.
  function nearest(name, x, y) {
    const [across, up] = [views[name].scale("x"), views[name].scale("y")];
    const [first, second] = fields(name);
    const [series, position] = [shown(), place()];
    let [best, found, before] = [30, null, null];
    for (const row of name === "limits" ? flows : points) {
      if (row.place !== position || !series.includes(row.series) || row[first] === null || row[second] === null) continue;
      const here = { flow: row.flow, x: across(row[first]), y: up(row[second]) };
      const from = name !== "limits" && before && before.flow === row.flow ? before : here;
      const away = distance(x, y, from, here);
      if (away < best) [best, found] = [away, row];
      before = here;
    }
    return found;
  }

  function look(flow) {
    if (flow === focus) return;
    focus = flow;
    tell("focus", focus);
    const row = flows[flow];
    const words = row ? page.axes.map((axis, i) => `${axis.name} ${row["axis" + i]}`).concat(`seed ${row.seed}`, row.verdict) : [];
    if (row) words.push(row.kind.replace("_", " "));
    for (const field of new Set(row ? fields("limits") : [])) {
      const value = row[field] === null ? "unknown" : Number(row[field].toPrecision(4));
      words.push(`${page.quantities[field]}: ${value}`);
    }
    document.getElementById("explore-focus").textContent = words.join(", ");
  }

  function step(by) {
    const [series, position] = [shown(), place()];
    const visible = flows.filter((row) => row.place === position && series.includes(row.series));
    if (!visible.length) return;
    const now = visible.findIndex((row) => row.flow === focus);
    look(visible[(now < 0 && by < 0 ? visible.length - 1 : now + by + visible.length) % visible.length].flow);
  }

  function listen(name) {
    const element = document.getElementById("explore-" + name);
    const point = (event) => {
      const svg = element.querySelector("svg");
      if (!svg || !views[name]) return;
      const [box, origin] = [svg.getBoundingClientRect(), views[name].origin()];
      const row = nearest(name, event.clientX - box.left - origin[0], event.clientY - box.top - origin[1]);
      look(row ? row.flow : -1);
    };
    element.addEventListener("pointermove", point);
    element.addEventListener("pointerdown", point);
    element.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && look(-1));
    element.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") step(1);
      else if (event.key === "ArrowLeft") step(-1);
      else return;
      event.preventDefault();
    });
  }

  async function draw(name) {
    const options = { renderer: "svg", actions: { export: true, source: false, compiled: false, editor: false } };
    options.downloadFileName = name;
    const result = await vegaEmbed(document.getElementById("explore-" + name), specification(name), options);
    if (views[name]) views[name].finalize();
    views[name] = result.view;
  }

  function drawAll() {
    const colours = theme().range.category;
    section.querySelectorAll(".swatch").forEach((swatch, i) => swatch.style.setProperty("--swatch", colours[i]));
    return Promise.all(Object.keys(page.charts).map(draw));
  }

  Object.keys(page.charts).forEach(listen);
  section.hidden = false;
  for (const link of document.querySelectorAll('a[href="#explore"]')) link.hidden = false;
  for (const input of inputs) {
    input.addEventListener("input", () => {
      if (input.name === "place") {
        const labels = page.axes[Number(input.dataset.axis)].labels;
        input.setAttribute("aria-valuetext", labels[input.value]);
        input.nextElementSibling.textContent = labels[input.value];
      }
      if (input.name === "series") tell("shown", shown());
      else if (input.name === "place") tell("place", place());
      else if (input.name === "log") drawAll();
      else draw("limits");
    });
  }
  dark.addEventListener("change", drawAll);
  window.explored = drawAll().then(() => views);
})();
