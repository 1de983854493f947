/** A model (weights, card, domain, errors), and the atmospheres that it predicts: emulator.py and structure.py. */

import { elements, meanAtomicMass } from "./composition.js";
import { ERROR_FIELDS, ErrorModel } from "./errors.js";
import { Domain } from "./labels.js";
import { FIELDS, Network, TENSORS } from "./network.js";
import { readSafetensors } from "./safetensors.js";

/** Format of weights and card that this page reads. */
const FORMAT = 1;

export class Model {
  /** card: the model card; weights: ArrayBuffer of its .safetensors file; site: `site.json`. */
  constructor(card, weights, site) {
    if (card.format !== FORMAT) throw new Error(`${card.name} has format ${card.format}; this page reads ${FORMAT}`);
    const tensors = readSafetensors(weights);
    const missing = TENSORS.find((name) => !(name in tensors));
    const unknown = Object.keys(tensors).find((name) => !TENSORS.includes(name) && !name.startsWith("error_"));
    if (missing ?? unknown) throw new Error(`${card.name}: the tensor '${missing ?? unknown}' is ${missing ? "missing" : "unknown"}`);
    Object.assign(this, { name: card.name, card, site, labels: card.labels });
    this.domain = new Domain(card.domain, site.label_units);
    this.network = new Network(card.labels, card.features, tensors, site.constants.boltzmann);
    this.errors = "error_labels" in tensors ? new ErrorModel(tensors, this.domain.teff) : null;
    this.mixture = elements(site.composition, card.solar_scale);
  }

  /** Labels in the model's order, those left out by its defaults. */
  stack(labels) {
    return this.labels.map((name) => labels[name] ?? this.domain.defaults[name]);
  }

  atomicMass(labels) {
    return meanAtomicMass(this.mixture, labels.m_h ?? 0, labels.alpha_m ?? 0, this.site.constants.atomic_mass);
  }

  /** The atmosphere at labels {name: value}; logTau: depths [log10], those of the model if left out. */
  predict(labels, { logTau = null } = {}) {
    const x = this.stack(labels);
    const tau = logTau === null ? null : Float64Array.from(logTau, (v) => 10 ** v);
    const rows = this.network.logProfiles(x, { tau });
    const held = Object.fromEntries(FIELDS.map((name, j) => [name, rows[j].v.map(Math.exp)]));
    return this.atmosphere(x, { ...held, tau_ross: tau ?? this.network.tau });
  }

  atmosphere(x, held) {
    const { temperature, gas_pressure: p, electron_density: nE } = held;
    const labels = Object.fromEntries(this.labels.map((name, k) => [name, x[k]]));
    const mass = this.atomicMass(labels);
    const atoms = temperature.map((t, i) => p[i] / (this.site.constants.boltzmann * t) - nE[i]);
    return {
      ...held, labels, atomic_mass: mass, atom_density: atoms, density: atoms.map((n) => mass * n),
      solar_scale: this.card.solar_scale, source: this.name,
    };
  }

  /** {profile: standard deviation} of an atmosphere on the model's own depths; null for a model without error model. */
  std(atm) {
    if (this.errors === null) return null;
    const relative = this.errors.relativeStd(this.stack(atm.labels), atm.tau_ross.map(Math.log));
    const std = Object.fromEntries(ERROR_FIELDS.map((name) => [name, relative[name].map((s, i) => s * atm[name][i])]));
    const number = relative.gas_pressure.map((s, i) => Math.hypot(s, relative.temperature[i]));
    for (const name of ["atom_density", "density"]) std[name] = number.map((s, i) => s * atm[name][i]);
    return std;
  }

  /** {profile: [d ln profile / d label for each label]} on the model's own depths. */
  jacobian(labels) {
    const x = this.stack(labels);
    const rows = this.network.logProfiles(x, { derivatives: true });
    const out = Object.fromEntries(FIELDS.map((name, j) => [name, rows[j].d]));
    // The mean atomic mass by central differences of a smooth sum.
    const mass = (name, step) => Math.log(this.atomicMass({ ...labels, [name]: labels[name] + step }));
    out.density = out.atom_density.map((row, k) => {
      const name = this.labels[k];
      const slope = name === "m_h" || name === "alpha_m" ? (mass(name, 1e-4) - mass(name, -1e-4)) / 2e-4 : 0;
      return row.map((v) => v + slope);
    });
    return out;
  }
}

/** Geometrical depth below tau_Ross = 1 [cm], dz = dm / rho, by trapezoids in the column mass. */
export function depth(atm) {
  const z = new Float64Array(atm.rhox.length);
  for (let i = 1; i < z.length; i++) {
    z[i] = z[i - 1] + (atm.rhox[i] - atm.rhox[i - 1]) * 0.5 * (1 / atm.density[i] + 1 / atm.density[i - 1]);
  }
  const at = atm.tau_ross.findIndex((tau) => tau >= 1);
  const share = Math.log(1 / atm.tau_ross[at - 1]) / Math.log(atm.tau_ross[at] / atm.tau_ross[at - 1]);
  const zero = z[at - 1] + share * (z[at] - z[at - 1]);
  return z.map((value) => value - zero);
}
