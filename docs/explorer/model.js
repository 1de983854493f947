/** A model (weights, card, domain, errors), and the atmospheres that it predicts: emulator/model.py and structure.py. */

import { times } from "./dual.js";
import { elements, meanAtomicMass } from "./composition.js";
import { ERROR_FIELDS, ErrorModel } from "./errors.js";
import { Domain } from "./labels.js";
import { Network, TENSORS } from "./network.js";
import { fromUnitDepth, height, integrationMatrix } from "./physics.js";
import { readSafetensors } from "./safetensors.js";

/** Format of weights and card that this page reads. */
const FORMAT = 1;

export class Model {
  /** card: the model card; weights: ArrayBuffer of its .safetensors file; site: `site.json`. */
  constructor(card, weights, site) {
    if (card.format !== FORMAT) throw new Error(`${card.name} has format ${card.format}; this page reads ${FORMAT}`);
    const tensors = readSafetensors(weights);
    const missing = TENSORS.find((name) => !(name in tensors));
    const known = (name) => TENSORS.includes(name) || name === "nodes" || name.startsWith("error_");
    const unknown = Object.keys(tensors).find((name) => !known(name));
    if (missing ?? unknown) throw new Error(`${card.name}: the tensor '${missing ?? unknown}' is ${missing ? "missing" : "unknown"}`);
    Object.assign(this, { name: card.name, card, site, labels: card.labels });
    this.domain = new Domain(card.domain, site.label_units);
    this.network = new Network(card.labels, card.features, tensors, site.constants);
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

  /** Whether a star is a sphere: of a model with a mass, where asked for, or up to the log g that MARCS has them to. */
  isSphere(labels, geometry = null) {
    if (!this.network.hasMass) return false;
    return geometry === null ? this.stack(labels)[this.domain.logg] <= this.site.constants.sphere_logg : geometry === "sphere";
  }

  /** Labels as the network takes them: an infinite mass where the star is plane-parallel. */
  input(labels, geometry) {
    const plane = this.network.hasMass && !this.isSphere(labels, geometry);
    return this.stack(labels).map((v, k) => (plane && this.labels[k] === "mass" ? Infinity : v));
  }

  /**
   * The atmosphere at labels {name: value}; logTau: depths [log10], those of the model if left out; geometry: "plane",
   * "sphere" or null for what is usual.
   */
  predict(labels, { logTau = null, geometry = null } = {}) {
    const { network } = this;
    const tau = logTau === null ? null : Float64Array.from(logTau, (v) => 10 ** v);
    // Heights are integrals from tau = 1: a network that needs them has all on its own grid first.
    const own = tau === null || network.hasMass;
    const rows = network.logProfiles(this.input(labels, geometry), { tau: own ? null : tau }).map((row) => row.v);
    const { logg, mass } = Object.fromEntries(this.labels.map((name, k) => [name, this.stack(labels)[k]]));
    const at = (values) => (own && tau !== null ? times(network.depthMatrix(tau), values) : values);
    const held = Object.fromEntries(network.profiles.map((name, j) => [name, at(rows[j]).map(Math.exp)]));
    if (network.hasMass) {
      const [kappa, rho] = ["opacity", "density"].map((name) => rows[network.profiles.indexOf(name)].map(Math.exp));
      held.height = at(height(network.tau, kappa, rho, network.above));
    }
    if (this.isSphere(labels, geometry)) held.radius = 1 / Math.sqrt(10 ** logg / (this.site.constants.solar_gm * mass));
    return this.atmosphere(this.stack(labels), { ...held, tau_ross: tau ?? network.tau });
  }

  /** What an atmosphere has beside what the network gives: {profile: values}, labels, solar scale, source. */
  atmosphere(x, held) {
    const { temperature, gas_pressure: p, electron_density: nE, tau_ross: tau } = held;
    const labels = Object.fromEntries(this.labels.map((name, k) => [name, x[k]]));
    const mass = this.atomicMass(labels);
    const atoms = temperature.map((t, i) => p[i] / (this.site.constants.boltzmann * t) - nE[i]);
    const density = held.density ?? atoms.map((n) => mass * n);
    return {
      ...held, labels, atomic_mass: mass, atom_density: atoms, density, height: held.height ?? this.height(tau, held.opacity, density),
      solar_scale: this.card.solar_scale, source: this.name,
    };
  }

  height(tau, opacity, density) {
    const lnTau = tau.map(Math.log);
    const above = tau === this.network.tau ? this.network.above : fromUnitDepth(lnTau, integrationMatrix(lnTau));
    return height(tau, opacity, density, above);
  }

  /** {profile: standard deviation} of an atmosphere on the model's own depths; null for a model without error model. */
  std(atm) {
    if (this.errors === null) return null;
    const relative = this.errors.relativeStd(this.stack(atm.labels), atm.tau_ross.map(Math.log));
    const std = Object.fromEntries(ERROR_FIELDS.map((name) => [name, relative[name].map((s, i) => s * atm[name][i])]));
    const number = relative.gas_pressure.map((s, i) => Math.hypot(s, relative.temperature[i]));
    for (const name of ["atom_density", "density", "height"]) std[name] = number.map((s, i) => s * Math.abs(atm[name][i]));
    return std;
  }

  /** {profile: [d ln profile / d label for each label]} on the model's own depths. */
  jacobian(labels, { geometry = null } = {}) {
    const rows = this.network.logProfiles(this.input(labels, geometry), { derivatives: true });
    const out = Object.fromEntries(this.network.profiles.map((name, j) => [name, rows[j].d]));
    // The mean atomic mass by central differences of a smooth sum.
    const mass = (name, step) => Math.log(this.atomicMass({ ...labels, [name]: labels[name] + step }));
    out.density ??= out.atom_density.map((row, k) => {
      const name = this.labels[k];
      const slope = name === "m_h" || name === "alpha_m" ? (mass(name, 1e-4) - mass(name, -1e-4)) / 2e-4 : 0;
      return row.map((v) => v + slope);
    });
    return out;
  }
}
