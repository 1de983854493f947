/** How far a prediction may be off: the errors of held-out models near in the labels. uncertainty.py in Python. */

import { interpolate } from "./physics.js";

/** Profiles whose errors are recorded, in their order in the file. */
export const ERROR_FIELDS = ["temperature", "opacity", "radiative_acceleration", "electron_density", "rhox",
  "gas_pressure"];

/** Held-out models within so many widths of the kernel are called near. */
const NEAR = 2;

export class ErrorModel {
  /** tensors: of a model file, with `error_...` among them; teff: which label is Teff. */
  constructor(tensors, teff) {
    for (const name of ["labels", "log_square", "prior", "width", "ln_tau"]) this[name] = tensors[`error_${name}`].data;
    this.weight = tensors.error_weight.data[0];
    this.teff = teff;
    this.n = tensors.error_labels.shape[0];
    if (tensors.error_growth) {
      this.growth = tensors.error_growth.data;
      this.perStep = tensors.error_per_step.data;
      const [n, width] = tensors.nodes.shape;
      const scaled = (k) => Float64Array.from({ length: n }, (_, i) => this.inSteps(tensors.nodes.data[i * width + k], k));
      this.nodes = new Map([...this.perStep.keys()].filter((k) => this.perStep[k] > 0).map((k) => [k, scaled(k)]));
    }
  }

  inSteps(value, k) {
    return (k === this.teff ? Math.log10(value) : value) * this.perStep[k];
  }

  /** How far labels x are from the models of the training, in steps of their grid; 0 where those are not known. */
  steps(x) {
    if (!this.nodes) return 0;
    const square = new Float64Array([...this.nodes.values()][0].length);
    for (const [k, column] of this.nodes) {
      const at = this.inSteps(x[k], k);
      for (let i = 0; i < square.length; i++) square[i] += (at - column[i]) ** 2;
    }
    let [nearest, density] = [Infinity, 0];
    for (const d of square) if (d < nearest) nearest = d;
    for (const d of square) density += Math.exp(-2 * (d - nearest));
    const lacking = (1 + 2 * Math.exp(-2)) ** this.nodes.size - 1;
    return Math.sqrt(Math.max(nearest - 0.5 * Math.log(density / lacking), 0));
  }

  /** Squared distance of each held-out model from labels x, in widths of the kernel. */
  distances(x) {
    const z = x.map((v, k) => (k === this.teff ? Math.log10(v) : v));
    return Float64Array.from({ length: this.n }, (_, i) =>
      z.reduce((sum, v, k) => sum + ((v - this.labels[i * z.length + k]) / this.width[k]) ** 2, 0));
  }

  /** {field: relative standard deviation at depths lnTau}. */
  relativeStd(x, lnTau) {
    const weight = this.distances(x).map((d) => this.weight * Math.exp(-0.5 * d));
    const total = weight.reduce((a, b) => a + b, 1);
    const size = this.prior.length;
    const sum = Float64Array.from(this.prior);
    weight.forEach((w, i) => {
      for (let j = 0; j < size; j++) sum[j] += w * this.log_square[i * size + j];
    });
    const knots = this.ln_tau.length;
    const steps = this.steps(x);
    return Object.fromEntries(ERROR_FIELDS.map((name, f) => {
      const grown = this.growth ? Math.exp(this.growth[f] * steps) : 1;
      const at = sum.subarray(f * knots, (f + 1) * knots).map((v) => grown * Math.sqrt(Math.exp(v / total)));
      return [name, lnTau.map((t) => interpolate(t, this.ln_tau, at))];
    }));
  }

  /** How many held-out models are near, and {field: median of their relative errors over models and depths}. */
  nearby(x) {
    const near = [...this.distances(x).entries()].filter(([, d]) => d < NEAR ** 2).map(([i]) => i);
    const [size, knots] = [this.prior.length, this.ln_tau.length];
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    const figures = Object.fromEntries(ERROR_FIELDS.map((name, f) => [name, median(near.flatMap((i) =>
      Array.from({ length: knots }, (_, k) => Math.exp(0.5 * this.log_square[i * size + f * knots + k]))))]));
    return { models: near.length, figures };
  }
}
