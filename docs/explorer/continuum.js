/** Optical depth of the continuum at 5000 A, which MARCS files have beside the Rosseland depth: continuum.py. */

import { times } from "./dual.js";
import { integrationMatrix } from "./physics.js";

/** H- per neutral H atom and unit electron pressure; c: constants and fits of `site.json`. */
function negativeHydrogen(t, c) {
  const x = 1 / c.wave - 1 / 1.6419;
  const sigma = 1e-18 * c.wave ** 3 * x ** 1.5 * c.bound_free.reduce((sum, a, n) => sum + a * x ** (n / 2), 0);
  const bound = 0.75 * t ** -2.5 * Math.exp(1.439e4 / 1.6419 / t) * sigma * (1 - Math.exp(-c.hnu_k / t));
  const powers = [c.wave ** 2, 1, 1 / c.wave, c.wave ** -2, c.wave ** -3, c.wave ** -4];
  const theta = 5040 / t;
  const free = c.free_free.reduce((sum, row, i) =>
    sum + theta ** ((i + 3) / 2) * row.reduce((s, a, j) => s + a * powers[j], 0), 0);
  return bound + 1e-29 * free;
}

/** Continuous opacity per gram at 5000 A [cm2 g-1]; hydrogen: fraction of H among the atoms, by number. */
export function opacity5000(t, nE, nAtom, atomicMass, hydrogen, c) {
  const nH = hydrogen * nAtom;
  const saha = ((2.4146e15 * t ** 1.5) / nE) * Math.exp(-c.rydberg_k / t);
  const [neutral, ions] = [nH / (1 + saha), (nH * saha) / (1 + saha)];
  let bound = 0;
  for (let n = 3; n < 12; n++) {
    bound += ((2.815e29 / n ** 5 / c.nu ** 3) * n ** 2) * Math.exp((-c.rydberg_k * (1 - 1 / n ** 2)) / t);
  }
  bound *= 1 - Math.exp(-c.hnu_k / t);
  const free = (3.692e8 / Math.sqrt(t) / c.nu ** 3) * nE * ions * (1 - Math.exp(-c.hnu_k / t));
  const angstrom = c.wave * 1e4;
  const rayleigh = 5.799e-13 / angstrom ** 4 + 1.422e-6 / angstrom ** 6 + 2.784 / angstrom ** 8;
  const alpha = neutral * (negativeHydrogen(t, c) * nE * c.boltzmann * t + bound + rayleigh) + free + 6.652e-25 * nE;
  return alpha / (nAtom * atomicMass);
}

/** Continuum optical depth at 5000 A of an atmosphere (model.js), by integration over the column mass. */
export function tau5000(atm, mixture, c) {
  const mH = atm.labels.m_h ?? 0;
  const helium = 10 ** (mixture.find((e) => e.symbol === "He").solar - 12);
  const metals = mixture.reduce((sum, e) => sum + (e.metal ? 10 ** (e.solar - 12 + mH) : 0), 0);
  const atomicMass = atm.atomic_mass;
  const kappa = atm.temperature.map((t, i) =>
    opacity5000(t, atm.electron_density[i], atm.atom_density[i], atomicMass, 1 / (1 + helium + metals), c));
  const integral = times(integrationMatrix(atm.rhox.map(Math.log)), kappa.map((k, i) => k * atm.rhox[i]));
  return integral.map((v) => kappa[0] * atm.rhox[0] + v);
}
