/**
 * The network, double precision: labels -> features -> branch -> coefficients -> fields on the grid -> structure.
 *
 * The equations are those of `sme_pinn_atmo/runtime.py`; the derivatives travel with the values (dual.js).
 */

import { Row, add, concatenate, divide, each, exp, log, log1p, multiply, product, sigmoid, silu, slice, subtract }
  from "./dual.js";
import { greyTemperature, integrate, integrationMatrix, interpolationMatrix, physicalPressure } from "./physics.js";

/** Rows of `Network.logProfiles`, natural logarithms. */
export const FIELDS = ["temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure",
  "atom_density"];

/** The tensors that a network is made of; a model with others is of a later version. */
export const TENSORS = ["feature_mean", "feature_scale", "w_in", "b_in", "w", "b", "w_out", "b_out", "basis", "mean",
  "ln_tau"];

/** Smallest 1 - a/g above which `physicalPressure` changes nothing, and is left out. */
const NEAR = 0.1;

const log10 = (x) => each(x, Math.log10, (v) => 1 / (Math.LN10 * v));

/** A feature of the branch's input; `label(name)` gives a label as a row of one number. */
function feature(name, labels, label) {
  const teff = label("teff");
  const wave = /^(sin|cos)_([1-9]\d{0,2})_log_teff$/.exec(name);
  if (labels.includes(name)) return label(name);
  if (name === "log_teff") return log10(teff);
  if (name === "theta") return divide(5040, teff);
  if (name === "log_g_teff4") return subtract(label("logg"), multiply(4, log10(teff)));
  if (wave) {
    const phase = multiply(2 * Math.PI * Number(wave[2]), log10(teff));
    return wave[1] === "sin" ? each(phase, Math.sin, Math.cos) : each(phase, Math.cos, (v) => -Math.sin(v));
  }
  throw new Error(`unknown feature '${name}': this page is older than the model`);
}

export class Network {
  /** labels, features: names; tensors: {name: {data: Float64Array, shape}}; boltzmann: [erg / K]. */
  constructor(labels, features, tensors, boltzmann) {
    Object.assign(this, { labels, features, tensors, boltzmann });
    const t = (name) => tensors[name].data;
    const matrix = (name, from = 0, [rows, columns] = tensors[name].shape.slice(-2)) =>
      ({ rows, columns, data: t(name).subarray(from * rows * columns, (from + 1) * rows * columns) });
    this.lnTau = t("ln_tau");
    this.tau = this.lnTau.map(Math.exp);
    this.step = this.lnTau.slice(1).map((v, i) => v - this.lnTau[i]);
    this.integral = integrationMatrix(this.lnTau);
    const [depth, width] = tensors.b.shape;
    this.input = { w: matrix("w_in"), b: t("b_in") };
    this.hidden = Array.from({ length: depth }, (_, k) =>
      ({ w: matrix("w", k), b: t("b").subarray(k * width, (k + 1) * width) }));
    this.output = { w: matrix("w_out"), b: t("b_out") };
    const [nField, nComponent, nDepth] = tensors.basis.shape;
    // The basis is stored component by component; a field is its transpose times the coefficients.
    this.basis = Array.from({ length: nField }, (_, f) => transpose(matrix("basis", f)));
    this.mean = Array.from({ length: nField }, (_, f) => t("mean").slice(f * nDepth, (f + 1) * nDepth));
    this.mean[0] = this.mean[0].map((v, i) => v + Math.log(greyTemperature(this.tau[i])));
    this.nComponent = nComponent;
  }

  /** ln of `FIELDS` at labels x (a number for each label), a Row each, with derivatives by label if asked for. */
  logProfiles(x, { derivatives = false, tau = null } = {}) {
    const rows = this.structure(this.labelRows(x, derivatives));
    return tau === null ? rows : rows.map((row) => product(this.depthMatrix(tau), row));
  }

  labelRows(x, derivatives) {
    const unit = (k) => (derivatives ? this.labels.map((_, j) => Float64Array.of(j === k ? 1 : 0)) : []);
    const rows = Object.fromEntries(this.labels.map((name, k) => [name, new Row(Float64Array.of(x[k]), unit(k))]));
    return (name) => rows[name];
  }

  /** The fields that the network predicts: corrections to simple physics, on its own depths. */
  fields(label) {
    const { feature_mean: mean, feature_scale: scale } = this.tensors;
    const f = concatenate(this.features.map((name) => feature(name, this.labels, label)));
    let h = add(product(this.input.w, divide(subtract(f, mean.data), scale.data)), this.input.b);
    for (const { w, b } of this.hidden) h = add(h, silu(add(product(w, h), b)));
    const c = add(product(this.output.w, h), this.output.b);
    return this.basis.map((basis, k) =>
      add(product(basis, slice(c, k * this.nComponent, (k + 1) * this.nComponent)), this.mean[k]));
  }

  structure(label) {
    const [theta, lnKappa, lnShare, logit] = this.fields(label);
    const lnG = multiply(Math.LN10, label("logg"));
    const lnT = add(theta, log(label("teff")));
    const dm = multiply(this.tau, exp(multiply(-1, lnKappa)));
    const share = subtract(1, exp(lnShare));
    const mass = integrate(this.integral, dm);
    let p = integrate(this.integral, multiply(share, dm));
    if (Math.min(...share.v) < NEAR) p = physicalPressure(p, mass, dm, share, this.step);
    const lnP = add(log(p), lnG);
    const lnN = subtract(subtract(lnP, lnT), Math.log(this.boltzmann));
    const fraction = sigmoid(logit);
    return [lnT, lnKappa, add(lnShare, lnG), add(lnN, log(fraction)), log(mass), lnP,
      add(lnN, log1p(multiply(-1, fraction)))];
  }

  /** Cubic spline in ln tau from the model's grid to the depths `tau`. */
  depthMatrix(tau) {
    const key = tau.join();
    if (this.depths?.key !== key) {
      this.depths = { key, matrix: interpolationMatrix(this.lnTau, Float64Array.from(tau, Math.log)) };
    }
    return this.depths.matrix;
  }
}

function transpose({ rows, columns, data }) {
  const out = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c];
  return { rows: columns, columns: rows, data: out };
}
