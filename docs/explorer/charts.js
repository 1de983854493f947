/** Plots: profiles with bands, and the Kiel diagram with the domain. The drawing is uPlot's (a global, from its script). */

/* global uPlot */

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

const axis = (label, extra = {}) => ({
  label, stroke: colour("ink"), font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif", labelSize: 18,
  grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1, size: 4 }, ...extra,
});

const plain = (u, splits) => splits.map((v) => (v === null ? "" : String(Number(v.toPrecision(6))).replace("-", "−")));

/** A range of `values` with some air, never of no width. */
function room(low, high) {
  if (!(low <= high)) return [0, 1];
  const air = 0.04 * (high - low) || Math.max(Math.abs(low), 1) * 0.01;
  return [low - air, high + air];
}

/** One panel: a line with a band for each star, against a common x. */
export class ProfilePlot {
  constructor(parent, sync) {
    this.element = document.createElement("div");
    this.element.className = "plot";
    this.element.hidden = true;
    this.element.innerHTML = '<h3></h3><div class="draw" role="img"></div><div class="read" aria-hidden="true"></div>';
    [this.title, this.draw, this.read] = this.element.children;
    parent.append(this.element);
    this.sync = sync;
    new ResizeObserver(() => this.resize()).observe(this.draw);
  }

  size() {
    const width = Math.max(this.draw.clientWidth, 200);
    return { width, height: Math.round(Math.min(Math.max(width * 0.58, 210), 330)) };
  }

  resize() {
    if (!this.plot) return;
    const { width, height } = this.size();
    if (width !== this.plot.width || height !== this.plot.height) this.plot.setSize({ width, height });
  }

  /**
   * curves: [{star, x, y, low, high}], numbers as they are drawn; low and high may be null. readout(x) gives the
   * text below the plot where the pointer is, or for null.
   */
  update({ title, about, xLabel, yLabel, reversed, curves, readout, zero }) {
    this.title.textContent = title;
    this.draw.setAttribute("aria-label", about);
    this.readout = readout;
    this.element.hidden = curves.length === 0; // error bars, say, of a model without
    if (this.element.hidden) return;
    this.element.classList.remove("stale");
    const data = uPlot.join(curves.map(({ x, y, low, high }) => [[...x], [...y], ...(low ? [[...low], [...high]] : [])])
      .map(increasing));
    const kind = JSON.stringify([xLabel, yLabel, reversed, zero, curves.map(({ star, low }) => [star, low !== null])]);
    if (kind === this.kind) {
      this.plot.setData(data);
    } else {
      this.kind = kind;
      this.plot?.destroy();
      this.plot = new uPlot(this.options({ xLabel, yLabel, reversed, curves, zero }), data, this.draw);
    }
    this.show(null);
  }

  options({ xLabel, yLabel, reversed, curves, zero }) {
    const series = [{}];
    const bands = [];
    for (const { star, low } of curves) {
      series.push({ stroke: colour(star), width: 2, dash: star === "b" ? [7, 4] : undefined, points: { show: false },
        spanGaps: true });
      if (!low) continue;
      for (let edge = 0; edge < 2; edge++) {
        series.push({ stroke: colour(`band-${star}`), width: 1, points: { show: false }, spanGaps: true });
      }
      bands.push({ series: [series.length - 1, series.length - 2], fill: colour(`band-${star}`) });
    }
    return {
      ...this.size(), series, bands, legend: { show: false },
      scales: {
        x: { time: false, dir: reversed ? -1 : 1 },
        y: { range: (u, low, high) => (zero ? room(Math.min(low, 0), Math.max(high, 0)) : room(low, high)) },
      },
      axes: [axis(xLabel, { size: 34, values: plain, space: 45 }), axis(yLabel, { size: 56, values: plain, space: 28 })],
      cursor: { sync: { key: this.sync.key }, drag: { x: true, y: false }, points: { size: 6 } },
      hooks: { setCursor: [(u) => this.show(u.cursor.idx == null ? null : u.data[0][u.cursor.idx])], draw: zero ? [zeroLine] : [] },
    };
  }

  show(x) {
    const text = this.readout?.(x) ?? "";
    if (this.read.innerHTML !== text) this.read.innerHTML = text;
  }

  /** What is drawn is not of the labels as they are now. */
  stale() {
    this.element.classList.add("stale");
  }

  /** Colours have changed: draw anew next time. */
  forget() {
    this.kind = null;
  }
}

/** x must increase for uPlot: heights come outermost, and so highest, first. */
function increasing(table) {
  const x = table[0];
  return x.length > 1 && x[0] > x[x.length - 1] ? table.map((column) => column.reverse()) : table;
}

function zeroLine(u) {
  const y = u.valToPos(0, "y", true);
  const { ctx, bbox } = u;
  if (y < bbox.top || y > bbox.top + bbox.height) return;
  ctx.save();
  ctx.strokeStyle = colour("faint");
  ctx.setLineDash([]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

const TEFF_TICKS = [3000, 5000, 7000, 10000, 20000, 30000, 50000];

/** log g against Teff, both falling to the right and upwards as is the custom; a click moves a star. */
export class Kiel {
  /** move(teff, logg) is called where the user points, nudge(dx, dy) for arrow keys. */
  constructor(element, { move, nudge }) {
    Object.assign(this, { element, move, nudge, outline: null, stars: [], presets: [] });
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(element);
    const keys = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    element.addEventListener("keydown", (event) => {
      if (!(event.key in keys)) return;
      event.preventDefault();
      const much = event.shiftKey ? 5 : 1;
      nudge(...keys[event.key].map((step) => step * much));
    });
  }

  size() {
    const width = Math.max(this.element.clientWidth, 200);
    return { width, height: Math.round(width * 0.8) };
  }

  /** outline: {teff, logg_min, logg_max} of the domain; stars: [{star, teff, logg}]; presets: [{name, teff, logg}]. */
  update({ outline, stars, presets }) {
    const all = outline.teff;
    const g = [...outline.logg_min, ...outline.logg_max];
    const range = { x: [Math.min(...all) * 0.95, Math.max(...all) * 1.05], y: [Math.min(...g) - 0.3, Math.max(...g) + 0.3] };
    const kind = JSON.stringify(range);
    Object.assign(this, { outline, stars, presets });
    const nearest = stars.map((s) => `Star ${s.star.toUpperCase()} at ${Math.round(s.teff)} K, log g ${s.logg.toFixed(2)}`);
    this.element.setAttribute("aria-label", `Kiel diagram. ${nearest.join(". ")}`);
    if (kind === this.kind) {
      this.plot.redraw();
      return;
    }
    this.kind = kind;
    this.plot?.destroy();
    this.plot = new uPlot({
      ...this.size(), legend: { show: false }, series: [{}, { show: true, points: { show: false }, stroke: "transparent" }],
      scales: { x: { time: false, distr: 3, dir: -1, range: range.x }, y: { dir: -1, range: range.y } },
      axes: [
        axis("Teff [1000 K]", { size: 34, splits: () => TEFF_TICKS.filter((t) => t >= range.x[0] && t <= range.x[1]),
          filter: (u, splits) => splits, values: (u, splits) => splits.map((v) => String(v / 1000)) }),
        axis("log g [cm s⁻²]", { size: 40, values: plain }),
      ],
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      hooks: { draw: [(u) => this.paint(u)], ready: [(u) => this.listen(u)] },
    }, [range.x, range.y], this.element);
  }

  listen(u) {
    const point = (event) => {
      const { left, top } = u.over.getBoundingClientRect();
      this.move(u.posToVal(event.clientX - left, "x"), u.posToVal(event.clientY - top, "y"));
    };
    u.over.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse") u.over.setPointerCapture(event.pointerId);
      if (event.pointerType === "mouse") point(event);
    });
    u.over.addEventListener("pointermove", (event) => {
      if (event.pointerType === "mouse" && event.buttons & 1) point(event);
    });
    u.over.addEventListener("click", (event) => point(event));
  }

  paint(u) {
    const { ctx, bbox } = u;
    const at = (teff, logg) => [u.valToPos(teff, "x", true), u.valToPos(logg, "y", true)];
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = colour("domain");
    ctx.strokeStyle = colour("a");
    ctx.lineWidth = devicePixelRatio;
    const { teff: knots, logg_min: low, logg_max: high } = this.outline;
    ctx.beginPath();
    knots.forEach((t, i) => ctx.lineTo(...at(t, low[i])));
    [...knots.keys()].reverse().forEach((i) => ctx.lineTo(...at(knots[i], high[i])));
    ctx.closePath();
    ctx.fill();
    ctx.globalAlpha = 0.5;
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.fillStyle = colour("faint");
    for (const { teff, logg } of this.presets) {
      ctx.beginPath();
      ctx.arc(...at(teff, logg), 2.5 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fill();
    }
    ctx.font = `bold ${13 * devicePixelRatio}px system-ui, sans-serif`;
    for (const { star, teff, logg } of [...this.stars].reverse()) {
      const [x, y] = at(teff, logg);
      ctx.fillStyle = ctx.strokeStyle = colour(star);
      ctx.beginPath();
      ctx.arc(x, y, 6 * devicePixelRatio, 0, 2 * Math.PI);
      ctx.fill();
      ctx.fillText(star.toUpperCase(), x + 8 * devicePixelRatio, y + (star === "a" ? -6 : 16) * devicePixelRatio);
    }
    ctx.restore();
  }

  forget() {
    this.kind = null;
  }
}
