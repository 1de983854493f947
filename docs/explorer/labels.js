/** The domain of a model: where it may be used, and what to say outside. labels.py is the same in Python. */

import { general } from "./format.js";
import { interpolate } from "./physics.js";

export class Domain {
  /** card: `domain` of a model card; units: {label: unit} of the labels that are not in dex. */
  constructor({ labels, lower, upper, defaults, kiel }, units) {
    Object.assign(this, { labels, lower, upper, defaults, kiel, units });
    this.teff = labels.indexOf("teff");
    this.logg = labels.indexOf("logg");
  }

  unit(label) {
    return this.units[label] ?? "dex";
  }

  /** Lowest and highest log g that the training models have at this Teff. */
  loggRange(teff) {
    if (!this.kiel) return [this.lower[this.logg], this.upper[this.logg]];
    return [this.kiel.logg_min, this.kiel.logg_max].map((edge) => interpolate(teff, this.kiel.teff, edge));
  }

  /** Outlines in the Kiel diagram: {teff, logg_min, logg_max} at knots, straight between them. */
  strips() {
    const [low, high] = [this.lower, this.upper];
    return [this.kiel ?? { teff: [low[this.teff], high[this.teff]], logg_min: [low[this.logg], low[this.logg]],
      logg_max: [high[this.logg], high[this.logg]] }];
  }

  inside(x) {
    if (!x.every((v, k) => v >= this.lower[k] && v <= this.upper[k])) return false;
    const [low, high] = this.loggRange(x[this.teff]);
    return !this.kiel || (x[this.logg] >= low - 1e-9 && x[this.logg] <= high + 1e-9);
  }

  /** The labels moved into the domain: into the box first, then log g into the strip. */
  nearest(x) {
    const y = x.map((v, k) => Math.min(Math.max(v, this.lower[k]), this.upper[k]));
    const [low, high] = this.loggRange(y[this.teff]);
    y[this.logg] = Math.min(Math.max(y[this.logg], low), high);
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
    const [teff, logg] = [x[this.teff], x[this.logg]];
    const [low, high] = this.loggRange(teff);
    const edge = logg < low ? low : high;
    return `logg = ${general(logg)} dex is outside the range ${general(low, 3)} to ${general(high, 3)} that training ` +
      `models have at teff = ${general(teff)} K by ${general(Math.abs(logg - edge), 3)}; ` +
      `nearest allowed value: logg = ${general(edge, 4)}`;
  }
}
