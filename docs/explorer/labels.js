/** The domain of a model: where it may be used, and what to say outside. labels.py is the same in Python. */

import { general } from "./format.js";
import { interpolate } from "./physics.js";

export class Domain {
  /** card: `domain` of a model card; units: {label: unit} of the labels that are not in dex. */
  constructor({ labels, lower, upper, defaults, strips }, units) {
    Object.assign(this, { labels, lower, upper, defaults, strips, units });
    this.teff = labels.indexOf("teff");
    this.logg = labels.indexOf("logg");
  }

  unit(label) {
    return this.units[label] ?? "dex";
  }

  /** A strip's lowest and highest value at labels x, with the columns of its two labels. */
  range({ label, along, knots, low, high }, x) {
    const [i, j] = [this.labels.indexOf(label), this.labels.indexOf(along)];
    return [interpolate(x[j], knots, low), interpolate(x[j], knots, high), i, j];
  }

  /** The outline in the Kiel diagram: {teff, logg_min, logg_max} at knots, straight between them. */
  outline() {
    const strip = this.strips.find(({ label, along }) => label === "logg" && along === "teff");
    if (strip) return { teff: strip.knots, logg_min: strip.low, logg_max: strip.high };
    const [low, high] = [this.lower, this.upper];
    return { teff: [low[this.teff], high[this.teff]], logg_min: [low[this.logg], low[this.logg]],
      logg_max: [high[this.logg], high[this.logg]] };
  }

  inside(x) {
    if (!x.every((v, k) => v >= this.lower[k] && v <= this.upper[k])) return false;
    return this.strips.every((strip) => {
      const [low, high, i] = this.range(strip, x);
      return x[i] >= low - 1e-9 && x[i] <= high + 1e-9;
    });
  }

  /** The labels moved into the domain: into the box first, then into each strip. */
  nearest(x) {
    const clip = (v, low, high) => Math.min(Math.max(v, low), high);
    const y = x.map((v, k) => clip(v, this.lower[k], this.upper[k]));
    for (const strip of this.strips) {
      const [low, high, i] = this.range(strip, y);
      y[i] = clip(y[i], low, high);
    }
    return y;
  }

  /** What is wrong with the labels, in a sentence; empty inside. */
  complaint(x) {
    if (this.inside(x)) return "";
    for (const [k, name] of this.labels.entries()) {
      const [value, low, high, unit] = [x[k], this.lower[k], this.upper[k], this.unit(name)];
      const range = `${general(low)} to ${general(high)} ${unit}`;
      if (!Number.isFinite(value)) return `${name} = ${value} is not finite; allowed: ${range}`;
      if (value >= low && value <= high) continue;
      const edge = value < low ? low : high;
      return `${name} = ${general(value)} ${unit} is outside the model's range ${range} ` +
        `by ${general(Math.abs(value - edge))}; nearest allowed value: ${general(edge)}`;
    }
    for (const strip of this.strips) {
      const [low, high, i, j] = this.range(strip, x);
      if (x[i] >= low - 1e-9 && x[i] <= high + 1e-9) continue;
      const edge = x[i] < low ? low : high;
      return `${strip.label} = ${general(x[i])} ${this.unit(strip.label)} is outside the range ${general(low, 4)} to ` +
        `${general(high, 4)} that training models have at ${strip.along} = ${general(x[j])} ${this.unit(strip.along)} ` +
        `by ${general(Math.abs(x[i] - edge), 3)}; nearest allowed value: ${strip.label} = ${general(edge, 4)}`;
    }
    return "";
  }
}
