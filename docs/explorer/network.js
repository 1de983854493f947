/**
 * The network, double precision: labels -> features -> branch -> coefficients -> fields on the grid -> structure.
 *
 * The equations are those of `sme_pinn_atmo/emulator/runtime.py`; the derivatives travel with the values (dual.js).
 */

import { Row, add, clip, concatenate, constant, divide, each, exp, larger, log, log1p, multiply, product, sigmoid, silu,
  slice, subtract } from "./dual.js";
import { SMALL, fromUnitDepth, greyTemperature, integrate, integrationMatrix, interpolationMatrix, physicalIntegrals }
  from "./physics.js";

/** Rows of `Network.logProfiles`, natural logarithms; density only of a network that knows spheres. */
export const FIELDS = ["temperature", "opacity", "radiative_acceleration", "electron_density", "rhox", "gas_pressure",
  "atom_density", "density"];

/** The tensors that a network is made of; a model with others is of a later version. */
export const TENSORS = ["feature_mean", "feature_scale", "w_in", "b_in", "w", "b", "w_out", "b_out", "basis", "mean",
  "ln_tau"];

/** Fields that the network predicts, without and with spheres. */
const [PLANE, SPHERE] = [4, 6];

const log10 = (x) => each(x, Math.log10, (v) => 1 / (Math.LN10 * v));

/** A feature of the branch's input; `label(name)` gives a label as a row of one number, or the extension. */
function feature(name, labels, label) {
  const teff = label("teff");
  const wave = /^(sin|cos)_([1-9]\d{0,2})_log_teff$/.exec(name);
  if ((labels.includes(name) && name !== "mass") || (name === "extension" && labels.includes("mass"))) return label(name);
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
  /** labels, features: names; tensors: {name: {data: Float64Array, shape}}; constants: of `site.json`. */
  constructor(labels, features, tensors, constants) {
    Object.assign(this, { labels, features, tensors, constants });
    this.hasMass = labels.includes("mass");
    this.profiles = this.hasMass ? FIELDS : FIELDS.slice(0, -1);
    const t = (name) => tensors[name].data;
    const matrix = (name, from = 0, [rows, columns] = tensors[name].shape.slice(-2)) =>
      ({ rows, columns, data: t(name).subarray(from * rows * columns, (from + 1) * rows * columns) });
    this.lnTau = t("ln_tau");
    this.tau = this.lnTau.map(Math.exp);
    this.step = this.lnTau.slice(1).map((v, i) => v - this.lnTau[i]);
    this.integral = integrationMatrix(this.lnTau);
    this.above = fromUnitDepth(this.lnTau, this.integral);
    const [depth, width] = tensors.b.shape;
    this.input = { w: matrix("w_in"), b: t("b_in") };
    this.hidden = Array.from({ length: depth }, (_, k) =>
      ({ w: matrix("w", k), b: t("b").subarray(k * width, (k + 1) * width) }));
    this.output = { w: matrix("w_out"), b: t("b_out") };
    const [nField, nComponent, nDepth] = tensors.basis.shape;
    if (nField !== (this.hasMass ? SPHERE : PLANE)) throw new Error(`a network of ${nField} fields is of a later version`);
    // The basis is stored component by component; a field is its transpose times the coefficients.
    this.basis = Array.from({ length: nField }, (_, f) => transpose(matrix("basis", f)));
    this.mean = Array.from({ length: nField }, (_, f) => t("mean").slice(f * nDepth, (f + 1) * nDepth));
    this.mean[0] = this.mean[0].map((v, i) => v + Math.log(greyTemperature(this.tau[i])));
    this.nComponent = nComponent;
  }

  /**
   * ln of `profiles` at labels x (a number for each label), a Row each, with derivatives by label if asked for. An
   * infinite mass stands for plane-parallel layers.
   */
  logProfiles(x, { derivatives = false, tau = null } = {}) {
    const rows = this.structure(this.labelRows(x, derivatives));
    return tau === null ? rows : rows.map((row) => product(this.depthMatrix(tau), row));
  }

  labelRows(x, derivatives) {
    const unit = (k) => (derivatives ? this.labels.map((_, j) => Float64Array.of(j === k ? 1 : 0)) : []);
    const rows = Object.fromEntries(this.labels.map((name, k) => [name, new Row(Float64Array.of(x[k]), unit(k))]));
    if (this.hasMass) rows.extension = this.extension(rows.teff, rows);
    return (name) => rows[name];
  }

  /** Scale height of atomic hydrogen at a temperature over the radius of the star; 0 for plane-parallel layers. */
  extension(temperature, { logg, mass }) {
    if (!Number.isFinite(mass.v[0])) return multiply(0, temperature);
    const { boltzmann, atomic_mass: u, solar_gm: gm } = this.constants;
    const lnRoot = multiply(0.5, add(multiply(Math.LN10, logg), log(multiply(gm, mass))));
    return multiply(boltzmann / u, multiply(temperature, exp(multiply(-1, lnRoot))));
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
    const [theta, lnKappa, lnShare, logit, lnWeight, lnTop] = this.fields(label);
    const lnG = multiply(Math.LN10, label("logg"));
    const lnT = add(theta, log(label("teff")));
    const fraction = sigmoid(logit);
    const dm = multiply(this.tau, exp(multiply(-1, lnKappa)));
    // What lies above the first layer, in units of tau / kappa there.
    const top = this.hasMass ? exp(slice(lnTop, 0, 1)) : 1;
    const down = (slope) => integrate(this.integral, slope, top);
    let mass = down(dm);
    const share = exp(lnShare);
    let rest = subtract(1, share);
    let p = down(multiply(rest, dm));
    if (this.hasMass && Number.isFinite(label("mass").v[0])) {
      const extended = this.extension(exp(lnT), { logg: label("logg"), mass: label("mass") });
      const step = multiply(divide(multiply(extended, exp(multiply(-1, lnWeight))), subtract(1, fraction)), dm);
      let v = constant(this.tau.map(() => 1)); // R / r
      for (let pass = 0; pass < this.constants.sphere_passes; pass++) {
        const floor = multiply(SMALL, mass);
        v = clip(add(1, product(this.above, divide(multiply(step, multiply(v, v)), larger(p, floor)))), 0.5, 2);
        rest = subtract(multiply(v, v), share);
        p = down(multiply(rest, dm));
      }
    }
    [mass, p] = physicalIntegrals(mass, p, dm, rest, this.step);
    const lnP = add(log(p), lnG);
    const lnN = subtract(subtract(lnP, lnT), Math.log(this.constants.boltzmann));
    const lnAtoms = add(lnN, log1p(multiply(-1, fraction)));
    const rows = [lnT, lnKappa, add(lnShare, lnG), add(lnN, log(fraction)), log(mass), lnP, lnAtoms];
    return this.hasMass ? [...rows, add(add(lnAtoms, lnWeight), Math.log(this.constants.atomic_mass))] : rows;
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
