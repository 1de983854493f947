/** Mixtures of elements; the tables are those of composition.py, in `site.json`. */

/** Elements of a mixture: {symbol, z, weight [u], solar (log10 number, H = 12), alpha (moved by alpha_m)}. */
export function elements(composition, scale) {
  return Object.entries(composition.solar_scales[scale]).map(([symbol, solar]) => ({
    symbol, solar, ...composition.elements[symbol], metal: symbol !== "H" && symbol !== "He",
  }));
}

/** Mean mass of an atom [g], electrons not counted. */
export function meanAtomicMass(mixture, mH, alphaM, atomicMass) {
  let [number, mass] = [0, 0];
  for (const { solar, weight, alpha, metal } of mixture) {
    const n = 10 ** (solar - 12 + (metal ? mH + (alpha ? alphaM : 0) : 0));
    number += n;
    mass += n * weight;
  }
  return (mass / number) * atomicMass;
}
