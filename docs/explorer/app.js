/** The page: controls, plots, files, and the address that holds all of it. */

import { Kiel, ProfilePlot } from "./charts.js";
import { FORMATS } from "./files.js";
import { general } from "./format.js";
import { Model } from "./model.js";
import { CHOICES, read, write } from "./state.js";

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

/** How labels are written, moved by a slider's and a field's step, and how much a derivative is given for. */
const LABELS = {
  teff: { text: "Teff", step: 10, per: 100 },
  logg: { text: "log g", step: 0.05, per: 0.1 },
  m_h: { text: "[M/H]", step: 0.05, per: 0.1 },
  alpha_m: { text: "[α/M]", step: 0.05, per: 0.1 },
  vturb: { text: "vturb", step: 0.1, per: 1 },
  mass: { text: "mass", step: 0.1, per: 0.1 },
};
const label = (name) => LABELS[name] ?? { text: name, step: 0.05, per: 0.1 };

/** Plane-parallel or spherical layers, of a model that knows both. */
const GEOMETRIES = [["", "as MARCS has them"], ["plane", "plane-parallel"], ["sphere", "spherical"]];

/** Panels: a profile, its title and symbol, and whether its logarithm is drawn. */
const PANELS = [
  ["temperature", "Temperature", "T", false],
  ["gas_pressure", "Gas pressure", "P", true],
  ["electron_density", "Electron density", "nₑ", true],
  ["opacity", "Rosseland opacity", "κ", true],
  ["radiative_acceleration", "Radiative acceleration", "a", true],
  ["density", "Density", "ρ", true],
].map(([name, title, symbol, log]) => ({ name, title, symbol, log }));

const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
const unitText = (unit) => unit.replace("solMass", "M☉").replace(/-?\d+/g, (n) => [...n].map((c) => SUPERSCRIPT[c]).join("")).replaceAll(" / ", "/");
const number = (v, digits = 4) => general(v, digits).replace("e+", "e").replaceAll("-", "−");

const page = { site: null, presets: [], models: {}, state: null, plots: [], kiel: null, shown: {} };

// ------------------------------------------------------------------ loading

async function fetched(path, as) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path} cannot be had (${answer.status})`);
  return answer[as]();
}

async function loadModel(name) {
  page.models[name] ??= Promise.all([fetched(`models/${name}.json`, "json"), fetched(`models/${name}.safetensors`, "arrayBuffer")])
    .then(([card, weights]) => (page.models[name] = new Model(card, weights, page.site)));
  return page.models[name];
}

/** The models that the state needs, once they are there. */
const needed = ({ a, b, compare }) => [a.model, ...(compare ? [b.model] : [])];

async function start() {
  [page.site, { stars: page.presets }] = await Promise.all([fetched("site.json", "json"), fetched("presets.json", "json")]);
  const { models, documentation } = page.site;
  $("docs").hidden = !documentation;
  const sun = { ...page.presets[0].labels };
  const usual = { a: { model: models[0], labels: sun, geometry: null },
    b: { model: models[1] ?? models[0], labels: { ...sun }, geometry: null },
    compare: false, show: CHOICES.show[0], x: CHOICES.x[0], by: "teff" };
  const fromAddress = () => read(location.hash, usual, models, Object.keys(LABELS));
  page.plots = PANELS.map(() => new ProfilePlot($("plots"), page));
  page.key = "depth";
  page.kiel = new Kiel($("kiel"), {
    move: (teff, logg) => setLabels("a", { teff: Math.round(teff / 5) * 5, logg: Math.round(logg * 100) / 100 }, true),
    nudge: (dx, dy) => {
      const { teff, logg } = page.state.a.labels;
      setLabels("a", { teff: teff + 50 * dx, logg: Math.round((logg + 0.05 * dy) * 1e4) / 1e4 }, true);
    },
  });
  wire();
  addEventListener("hashchange", () => {
    if (location.hash.slice(1) !== write(page.state)) change(fromAddress());
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of [...page.plots, page.kiel]) plot.forget();
    draw();
  });
  await change(fromAddress());
}

// ------------------------------------------------------------------ state and controls

/** Take a new state: load what it needs, build the controls, draw. */
async function change(state) {
  page.state = state;
  try {
    await Promise.all(needed(state).map(loadModel));
  } catch (error) {
    fail(error);
    return;
  }
  if (page.state !== state) return; // another came while the models were on their way
  for (const which of ["a", "b"]) {
    const model = page.models[state[which].model];
    if (!(model instanceof Model)) continue;
    if (!model.network.hasMass) state[which].geometry = null;
    state[which].labels = Object.fromEntries(model.labels.map((n, k) => [n, model.stack(state[which].labels)[k]]));
  }
  $("star-b").hidden = !state.compare;
  $("compare").checked = state.compare;
  for (const which of state.compare ? ["a", "b"] : ["a"]) buildStar(which);
  const model = page.models[state.a.model];
  if (!model.labels.includes(state.by)) state.by = model.labels[0];
  $("by").replaceChildren(...model.labels.map((n) => make("option", { value: n, textContent: label(n).text })));
  for (const name of ["show", "x", "by"]) $(name).value = state[name];
  draw();
}

function fail(error) {
  $("status").className = "outside";
  $("status").textContent = `This cannot be shown: ${error.message}.`;
}

/** A part of the state changes; `whole` where controls change with it. */
const amend = (part) => change({ ...page.state, ...part });

function setLabels(which, labels, nearest = false) {
  const star = page.state[which];
  star.labels = { ...star.labels, ...labels };
  if (nearest) {
    const model = page.models[star.model];
    const x = model.domain.nearest(model.stack(star.labels));
    star.labels = Object.fromEntries(model.labels.map((n, k) => [n, x[k]]));
  }
  showLabels(which);
  request();
}

/** The controls of a star: model, presets, and a slider and a field for each label. */
function buildStar(which) {
  const box = $(`star-${which}`);
  const star = page.state[which];
  const { domain, labels } = page.models[star.model];
  const model = make("select", { onchange: (e) => amend({ [which]: { ...page.state[which], model: e.target.value } }) },
    ...page.site.models.map((n) => make("option", { value: n, textContent: n, selected: n === star.model })));
  const preset = make("select", {
    onchange: (e) => {
      const chosen = page.presets[e.target.value];
      if (chosen) amend({ [which]: { ...page.state[which], labels: { ...chosen.labels } } });
    },
  }, make("option", { value: "", textContent: "choose ..." }),
  ...page.presets.map(({ name, source }, i) => make("option", { value: i, textContent: name, title: source })));
  const geometry = make("select", { onchange: (e) => amend({ [which]: { ...page.state[which], geometry: e.target.value || null } }) },
    ...GEOMETRIES.map(([value, textContent]) => make("option", { value, textContent, selected: value === (star.geometry ?? "") })));
  const rows = labels.map((name, k) => {
    const { text, step } = label(name);
    const unit = unitText(domain.unit(name));
    const [low, high] = [domain.lower[k], domain.upper[k]];
    const wide = low > 0 && high / low > 5; // such a range is shared out by its logarithm
    const [to, from] = wide ? [Math.log, Math.exp] : [(v) => v, (v) => v];
    const id = `${which}-${name}`;
    const slider = make("input", { type: "range", min: to(low), max: to(high), step: wide ? (to(high) - to(low)) / 1000 : step / 5,
      title: `${text} of star ${which.toUpperCase()}` });
    slider.setAttribute("aria-label", `${text} of star ${which.toUpperCase()}, ${unit}`);
    const round = (v) => Math.min(Math.max(Number((Math.round(v / (step / 5)) * (step / 5)).toFixed(6)), low), high);
    slider.oninput = () => setLabels(which, { [name]: round(from(Number(slider.value))) });
    const field = make("input", { type: "number", step, id, inputMode: "decimal" });
    field.onchange = field.oninput = () => {
      if (field.value !== "" && Number.isFinite(field.valueAsNumber)) setLabels(which, { [name]: field.valueAsNumber });
    };
    slider.show = (value) => {
      slider.value = to(Math.min(Math.max(value, low), high));
      slider.setAttribute("aria-valuetext", `${number(value, 6)} ${unit}`);
      if (document.activeElement !== field || field.valueAsNumber !== value) field.value = String(Number(value.toPrecision(12)));
    };
    slider.dataset.label = name;
    return make("div", { className: "label" }, make("label", { htmlFor: id, textContent: `${text} [${unit}]` }), slider, field);
  });
  box.replaceChildren(box.querySelector("legend"),
    make("div", { className: "row" }, make("label", {}, "Model ", model), make("label", {}, "Preset ", preset),
      ...(page.models[star.model].network.hasMass ? [make("label", {}, "Layers ", geometry)] : [])), ...rows);
  showLabels(which);
}

function showLabels(which) {
  for (const slider of $(`star-${which}`).querySelectorAll("input[type=range]")) {
    slider.show(page.state[which].labels[slider.dataset.label]);
  }
}

function wire() {
  $("compare").onchange = (e) => amend({ compare: e.target.checked,
    show: e.target.checked || page.state.show !== "difference" ? page.state.show : "profiles" });
  $("show").onchange = (e) => amend({ show: e.target.value, compare: page.state.compare || e.target.value === "difference" });
  $("x").onchange = (e) => amend({ x: e.target.value });
  $("by").onchange = (e) => amend({ by: e.target.value });
  $("which").onchange = () => draw();
  $("numbers").ontoggle = () => draw();
  for (const [kind, { suffix, title }] of Object.entries(FORMATS)) {
    $("downloads").append(make("button", { type: "button", textContent: title, title: `.${suffix}`, onclick: () => download(kind) }), " ");
  }
}

// ------------------------------------------------------------------ drawing

/** Draw once in the next frame, however many changes come before it. */
function request() {
  page.waiting ??= requestAnimationFrame(() => {
    page.waiting = null;
    draw();
  });
}

function draw() {
  const { state } = page;
  if (!(page.models[state.a.model] instanceof Model)) return;
  const begin = performance.now();
  const stars = (state.compare ? ["a", "b"] : ["a"]).map((star) => {
    const model = page.models[state[star].model];
    const x = model.stack(state[star].labels);
    const { geometry } = state[star];
    return { star, model, labels: state[star].labels, geometry, x, complaint: model.domain.complaint(x) };
  });
  const inside = stars.filter((s) => !s.complaint);
  for (const s of inside) {
    s.atm = s.model.predict(s.labels, s);
    s.std = s.model.std(s.atm);
  }
  const computed = performance.now();
  drawKiel(stars);
  if (inside.length === stars.length) drawPanels(stars);
  else page.plots.forEach((plot) => plot.stale());
  // uPlot draws in a microtask of its own, which comes before this one.
  queueMicrotask(() => {
    const drawn = performance.now();
    $("timing").textContent = `computed in ${(computed - begin).toFixed(1)} ms, drawn in ${(drawn - computed).toFixed(1)} ms`;
  });
  $("by-label").hidden = state.show !== "derivative";
  $("which").parentElement.hidden = !state.compare;
  page.stars = stars;
  clearTimeout(page.later);
  page.later = setTimeout(drawRest, 120);
}

/** What need not keep up with a moving slider. */
function drawRest() {
  const { stars, state } = page;
  const text = write(state);
  if (location.hash.slice(1) !== text) history.replaceState(null, "", `#${text}`);
  drawStatus(stars);
  drawNumbers(stars);
  drawLines(stars);
  drawAbout(stars);
  document.body.dataset.drawn = text; // for whoever waits until all is there
}

const depths = {
  tau: { text: "log₁₀ τ Ross", of: (atm) => atm.tau_ross.map(Math.log10), value: (x) => `log τ ${number(x, 3)}` },
  mass: { text: "log₁₀ column mass [g cm⁻²]", of: (atm) => atm.rhox.map(Math.log10), value: (x) => `log m ${number(x, 3)}` },
  height: { text: "height above τ = 1", reversed: true, of: (atm) => atm.height.map((z) => z / 1e5), value: (x) => `${number(x, 4)} km` },
};

/** Kilometres, or thousands or millions of them: a factor and how it is written. */
function lengthUnit(most) {
  return most > 2e6 ? [1e6, "10⁶ km"] : most > 2e3 ? [1e3, "10³ km"] : [1, "km"];
}

function drawPanels(stars) {
  const { state } = page;
  const across = depths[state.x];
  const xs = stars.map((s) => across.of(s.atm));
  let xLabel = across.text;
  if (state.x === "height") {
    const [factor, unit] = lengthUnit(Math.max(...xs.map((x) => Math.abs(x[0]))));
    xs.forEach((x, k) => (xs[k] = x.map((v) => v / factor)));
    xLabel = `${across.text} [${unit}]`;
  }
  const view = views[state.show](stars, xs);
  const bare = stars.filter((s) => !s.std).map((s) => s.model.name);
  $("view-note").textContent = view.note + (bare.length ? `; ${[...new Set(bare)].join(" and ")} came without an error bar` : "");
  PANELS.forEach((panel, k) => {
    const { curves, yLabel, tell } = view.panel(panel);
    // Where the pointer is, or at optical depth 1.
    const readout = (x) => (curves.length === 0 ? "" : `${x === null ? "τ = 1" : `${xLabel.split(" [")[0]} ${number(x, 4)}`}: ` +
      curves.map((c) => `<span class="${c.star}"><b>${c.star.toUpperCase()}</b> ${
        tell(c, x === null ? closest(c.tau, 1) : closest(c.x, x))}</span>`).join(", "));
    const about = `${panel.title} against ${xLabel}, ${state.show}. ` + curves.map((c) =>
      `Star ${c.star.toUpperCase()}: ${tell(c, 0)} outermost, ${tell(c, closest(c.tau, 1))} near optical depth 1, ${tell(c, c.x.length - 1)} innermost`).join(". ");
    page.plots[k].update({ title: panel.title, about, xLabel, yLabel, reversed: across.reversed ?? false, curves, readout,
      zero: view.zero ?? false });
  });
}

function closest(x, at) {
  let best = 0;
  for (let i = 1; i < x.length; i++) if (Math.abs(x[i] - at) < Math.abs(x[best] - at)) best = i;
  return best;
}

const unitOf = (name) => unitText(page.site.profiles[name].unit);

/** What the panels show: for each the curves, the text of y, and how a point is told. */
const views = {
  profiles: (stars, xs) => ({
    note: "band: one standard deviation",
    panel({ name, symbol, log }) {
      const scale = log ? Math.log10 : (v) => v;
      const curves = stars.map((s, k) => {
        const [values, std] = [s.atm[name], s.std?.[name]];
        const shifted = (sign) => values.map((v, i) => scale(Math.max(v + sign * std[i], v * 0.01)));
        return { star: s.star, x: xs[k], tau: s.atm.tau_ross, y: values.map(scale), values, std,
          low: std ? shifted(-1) : null, high: std ? shifted(1) : null };
      });
      const unit = unitOf(name);
      return { curves, yLabel: log ? `log₁₀ ${symbol} [${unit}]` : `${symbol} [${unit}]`,
        tell: (c, i) => `${number(c.values[i])}${c.std ? ` ± ${number(c.std[i], 2)}` : ""} ${unit}` };
    },
  }),
  error: (stars, xs) => ({
    note: "one standard deviation on both sides of the prediction", zero: true,
    panel({ name, symbol }) {
      const curves = stars.filter((s) => s.std).map((s) => {
        const high = s.atm[name].map((v, i) => (100 * s.std[name][i]) / v);
        return { star: s.star, x: xs[stars.indexOf(s)], tau: s.atm.tau_ross, y: high.map(() => 0), low: high.map((v) => -v), high };
      });
      return { curves, yLabel: `error of ${symbol} [%]`, tell: (c, i) => `± ${number(c.high[i], 2)} %` };
    },
  }),
  difference: ([a, b], xs) => {
    // Both at the same optical depths: B's spline in ln tau, as `predict(tau_ross=...)`.
    const [low, high] = [b.atm.tau_ross[0], b.atm.tau_ross.at(-1)];
    const at = [...a.atm.tau_ross.keys()].filter((i) => a.atm.tau_ross[i] >= low * (1 - 1e-9) && a.atm.tau_ross[i] <= high * (1 + 1e-9));
    const tau = Float64Array.from(at, (i) => a.atm.tau_ross[i]);
    const other = b.model.predict(b.labels, { logTau: tau.map(Math.log10), geometry: b.geometry });
    return {
      note: `at the same Rosseland depth; band: one standard deviation of A${a.atm.solar_scale === b.atm.solar_scale ? ""
        : `; [M/H] counts from ${a.atm.solar_scale} in A, ${b.atm.solar_scale} in B`}`,
      zero: true,
      panel({ name, symbol }) {
        const y = Float64Array.from(at, (i, k) => 100 * (other[name][k] / a.atm[name][i] - 1));
        const std = a.std && Float64Array.from(at, (i) => (100 * a.std[name][i]) / a.atm[name][i]);
        const x = Float64Array.from(at, (i) => xs[0][i]);
        const curves = [{ star: "b", x, tau, y, low: null, high: null }];
        if (std) curves.push({ star: "a", x, tau, y: y.map(() => 0), low: std.map((v) => -v), high: std });
        return { curves, yLabel: `B − A, ${symbol} [%]`,
          tell: (c, i) => (c.star === "b" ? `${number(c.y[i], 3)} %` : `± ${number(c.high[i], 2)} %`) };
      },
    };
  },
  derivative: (stars, xs) => {
    const { by } = page.state;
    const { per, text } = label(by);
    const unit = unitText(stars[0].model.domain.unit(by));
    const change = `${per} ${unit} of ${text}`;
    const jacobians = stars.map((s) => s.model.labels.includes(by) && s.model.jacobian(s.labels, s));
    return {
      note: `exact derivative, per cent for ${change}`, zero: true,
      panel({ name, symbol }) {
        const curves = stars.flatMap((s, k) => jacobians[k] ? [{ star: s.star, x: xs[k], tau: s.atm.tau_ross, low: null, high: null,
          y: jacobians[k][name][s.model.labels.indexOf(by)].map((v) => 100 * per * v) }] : []);
        return { curves, yLabel: `${symbol}, % per ${per} ${unit}`, tell: (c, i) => `${number(c.y[i], 3)} % per ${per} ${unit}` };
      },
    };
  },
};

function drawKiel(stars) {
  const { domain } = stars[0].model;
  page.kiel.update({
    outline: domain.outline(),
    stars: stars.map(({ star, labels }) => ({ star, teff: labels.teff, logg: labels.logg })),
    presets: page.presets.map(({ name, labels }) => ({ name, ...labels })),
  });
}

// ------------------------------------------------------------------ words, numbers, files

function drawStatus(stars) {
  const box = $("status");
  const outside = stars.filter((s) => s.complaint);
  box.className = outside.length ? "outside" : "";
  const describe = ({ star, model, labels, atm }) => `Star ${star.toUpperCase()}, ${model.name}: ` +
    model.labels.map((n) => `${label(n).text} ${number(labels[n], 6)} ${unitText(model.domain.unit(n))}`).join(", ") +
    (!model.network.hasMass ? "" : atm.radius ? `, spherical, radius ${number(atm.radius / page.site.constants.solar_radius)} R☉`
      : ", plane-parallel: the mass does not matter");
  const text = outside.length ? outside.map((s) => `Star ${s.star.toUpperCase()}: ${s.complaint}.`).join(" ") : stars.map(describe).join("; ") + ".";
  if (box.dataset.text === text) return;
  box.dataset.text = text;
  box.replaceChildren(text, ...outside.map((s) => make("div", {}, make("button", {
    type: "button", textContent: `Move star ${s.star.toUpperCase()} to the nearest allowed`, onclick: () => setLabels(s.star, {}, true),
  }))));
}

const chosen = (stars) => stars.find((s) => s.star === $("which").value) ?? stars[0];

function drawNumbers(stars) {
  const box = $("numbers").querySelector(".scroll");
  if (!$("numbers").open) return;
  const { star, atm, std, complaint } = chosen(stars);
  if (complaint) {
    box.replaceChildren("No structure outside the domain.");
    return;
  }
  const names = Object.keys(page.site.profiles);
  const head = names.map((n) => `<th scope="col">${escape(n)}${unitOf(n) ? ` [${unitOf(n)}]` : ""}</th>`);
  const rows = Array.from(atm.tau_ross, (_, i) => `<tr>${names.map((n) => `<td>${number(atm[n][i], 5)}${
    std && n !== "tau_ross" ? ` ± ${number(std[n][i], 2)}` : ""}</td>`).join("")}</tr>`);
  box.innerHTML = `<table><caption>Star ${star.toUpperCase()}, outermost layer first, with one standard deviation</caption>` +
    `<thead><tr>${head.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

/** The lines that make the same atmosphere elsewhere. */
export function lines({ model, labels, geometry }, site) {
  const value = (n) => String(labels[n]);
  const python = model.labels.map((n) => `${n}=${value(n)}`).join(", ") + (geometry ? `, geometry="${geometry}"` : "");
  const [result, std] = model.errors ? ["atm, std", ", return_std=True"] : ["atm", ""];
  const julia = model.labels.map((n) => `${{ teff: "Teff", m_h: "m_H" }[n] ?? n}=${value(n)}`).join(", ") +
    (geometry ? `, geometry=:${geometry}` : "");
  const options = model.labels.map((n) => `--${n.replaceAll("_", "-")} ${value(n)}`).join(" ") + (geometry ? ` --geometry ${geometry}` : "");
  const known = site.julia_models.includes(model.name);
  return {
    Python: `import sme_pinn_atmo as spa\n\nemu = spa.Emulator.load("${model.name}")\n${result} = emu.predict(${python}${std})`,
    Julia: `${known ? "" : `# once, on the command line: sme-pinn-atmo export-julia ${model.name} ${model.name}.pinn\n`}` +
      `using SMEPinnAtmo\n\natm = pinn_atmosphere(${julia}, model="${model.name}${known ? "" : ".pinn"}")`,
    "Command line": `sme-pinn-atmo predict --model ${model.name} ${options} --out star.mod`,
  };
}

function drawLines(stars) {
  const star = chosen(stars);
  const all = { ...lines(star, page.site), "Address of this page as it is now": location.href };
  $("lines").replaceChildren(...Object.entries(all).map(([title, text]) => {
    const code = make("code", { textContent: text });
    const button = make("button", { type: "button", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy: ${title}`);
    button.onclick = async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // no clipboard here: select it, to be copied by hand
      }
    };
    const pre = make("pre", { tabIndex: 0 }, code);
    pre.setAttribute("aria-label", title);
    return make("div", { className: "code" }, make("div", { className: "row" }, make("h3", { textContent: title }), button), pre);
  }));
  for (const button of $("downloads").querySelectorAll("button")) button.disabled = Boolean(star.complaint);
}

function download(kind) {
  const { model, labels, geometry } = chosen(page.stars);
  const { suffix, write: text, logTau = null } = FORMATS[kind];
  const url = URL.createObjectURL(new Blob([text(model.predict(labels, { logTau, geometry }), page.site)], { type: "application/octet-stream" }));
  const name = `${model.name}_t${number(labels.teff, 6)}_g${number(labels.logg)}_m${number(labels.m_h ?? 0)}.${suffix}`.replaceAll("−", "-");
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function drawAbout(stars) {
  $("about").replaceChildren(...stars.map(({ star, model, x, complaint }) => {
    const { card } = model;
    const near = model.errors && !complaint ? model.errors.nearby(x) : null;
    const parts = [`<p><b>Star ${star.toUpperCase()}: ${escape(model.name)}</b> ${escape(card.version ?? "")}. ${escape(card.description ?? "")}. ` +
      `Solar scale ${escape(card.solar_scale)}.</p>`];
    if (near?.models) {
      parts.push(`<p>Median error here, over all depths, seen on the ${near.models} nearest computed models that were kept from training:</p><table><thead><tr>` +
        PANELS.slice(0, 5).map((p) => `<th scope="col">${p.symbol}</th>`).join("") + "</tr></thead><tbody><tr>" +
        PANELS.slice(0, 5).map((p) => `<td>${number(100 * near.figures[p.name], 2)} %</td>`).join("") + "</tr></tbody></table>");
    } else if (near) {
      parts.push("<p>No computed model that was kept from training lies near this star: the error bar is the one assumed far from all of them.</p>");
    }
    parts.push(`<p>To cite: sme_pinn_atmo ${escape(page.site.version)}, model ${escape(model.name)} (weights ${escape(card.sha256.slice(0, 12))}); the training data: ` +
      `${(card.references ?? []).map(escape).join("; ")}; the idea: Li, Jian, Ting &amp; Green 2025, <a href="https://arxiv.org/abs/2507.06357">arXiv:2507.06357</a>.</p>`);
    return make("div", { innerHTML: parts.join("") });
  }), make("p", { className: "note", innerHTML: "Presets: " + page.presets.map(({ name, source }) => `${escape(name)}: ${escape(source)}`).join(". ") + "." }));
}

start().catch(fail);
