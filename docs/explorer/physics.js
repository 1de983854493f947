/** Splines in depth as matrices, and the gas pressure where radiation nearly balances gravity: physics.py. */

import { add, concatenate, cumulate, divide, each, multiply, product, slice, subtract, times } from "./dual.js";

/** Share of dm, of g dm and of g m below which `physicalIntegrals` bends column mass and gas pressure. */
export const SMALL = 0.01;

const matrix = (rows, columns) => ({ rows, columns, data: new Float64Array(rows * columns) });

/** Second derivatives at the nodes of the not-a-knot cubic spline, as a matrix that acts on the values there. */
function curvatureMatrix(x) {
  const n = x.length;
  const h = Float64Array.from({ length: n - 1 }, (_, i) => x[i + 1] - x[i]);
  const left = Array.from({ length: n }, () => new Float64Array(n));
  const right = Array.from({ length: n }, () => new Float64Array(n));
  for (let k = 1; k < n - 1; k++) {
    left[k].set([h[k - 1], 2 * (h[k - 1] + h[k]), h[k]], k - 1);
    right[k].set([6 / h[k - 1], -6 / h[k - 1] - 6 / h[k], 6 / h[k]], k - 1);
  }
  // The third derivative is continuous at the second node and at the last but one.
  left[0].set([h[1], -(h[0] + h[1]), h[0]]);
  left[n - 1].set([h[n - 2], -(h[n - 3] + h[n - 2]), h[n - 3]], n - 3);
  return solve(left, right);
}

/** X with left X = right, lists of rows, by elimination with pivots; both are used up. */
function solve(left, right) {
  const n = left.length;
  for (let k = 0; k < n; k++) {
    let best = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(left[i][k]) > Math.abs(left[best][k])) best = i;
    for (const rows of [left, right]) [rows[k], rows[best]] = [rows[best], rows[k]];
    for (let i = k + 1; i < n; i++) {
      const factor = left[i][k] / left[k][k];
      if (factor === 0) continue;
      for (let j = k; j < n; j++) left[i][j] -= factor * left[k][j];
      for (let j = 0; j < n; j++) right[i][j] -= factor * right[k][j];
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    for (let j = 0; j < n; j++) {
      let sum = right[k][j];
      for (let i = k + 1; i < n; i++) sum -= left[k][i] * right[i][j];
      right[k][j] = sum / left[k][k];
    }
  }
  return right;
}

/** Matrix that integrates the cubic spline through values at `nodes`, from the first on. */
export function integrationMatrix(nodes) {
  const n = nodes.length;
  const curvature = curvatureMatrix(nodes);
  const out = matrix(n, n);
  for (let i = 1; i < n; i++) {
    const h = nodes[i] - nodes[i - 1];
    for (let j = 0; j < n; j++) {
      const values = (j === i - 1 || j === i ? h / 2 : 0) - (h ** 3 / 24) * (curvature[i - 1][j] + curvature[i][j]);
      out.data[i * n + j] = out.data[(i - 1) * n + j] + values;
    }
  }
  return out;
}

/** `integrationMatrix` counted from tau = 1, which need not be a node, in place of the first layer. */
export function fromUnitDepth(lnTau, integral) {
  const n = lnTau.length;
  const { data } = interpolationMatrix(lnTau, [0]);
  const out = matrix(n, n);
  for (let j = 0; j < n; j++) {
    let there = 0;
    for (let k = 0; k < n; k++) there += data[k] * integral.data[k * n + j];
    for (let i = 0; i < n; i++) out.data[i * n + j] = integral.data[i * n + j] - there;
  }
  return out;
}

/** Height above tau = 1 [cm] from dr = -d tau / (kappa rho); `above` as `fromUnitDepth` gives it. */
export const height = (tau, opacity, density, above) =>
  times(above, tau.map((t, i) => -t / (opacity[i] * density[i])));

/** Matrix of the not-a-knot cubic spline through `nodes`, evaluated at `points`. */
export function interpolationMatrix(nodes, points) {
  const n = nodes.length;
  const curvature = curvatureMatrix(nodes);
  const out = matrix(points.length, n);
  points.forEach((point, r) => {
    let i = 0;
    while (i < n - 2 && nodes[i + 1] <= point) i++;
    const h = nodes[i + 1] - nodes[i];
    const b = (point - nodes[i]) / h;
    const a = 1 - b;
    for (let j = 0; j < n; j++) {
      out.data[r * n + j] =
        (((a ** 3 - a) * h ** 2) / 6) * curvature[i][j] + (((b ** 3 - b) * h ** 2) / 6) * curvature[i + 1][j];
    }
    out.data[r * n + i] += a;
    out.data[r * n + i + 1] += b;
  });
  return out;
}

/** Piecewise linear interpolation of `values` at increasing `nodes`, constant beyond the ends, as numpy.interp. */
export function interpolate(at, nodes, values) {
  const n = nodes.length;
  if (at <= nodes[0]) return values[0];
  if (at >= nodes[n - 1]) return values[n - 1];
  let i = 0;
  while (nodes[i + 1] <= at) i++;
  return values[i] + ((values[i + 1] - values[i]) / (nodes[i + 1] - nodes[i])) * (at - nodes[i]);
}

/** Temperature of a grey atmosphere over Teff. */
export const greyTemperature = (tau) => (0.75 * (tau + 2 / 3)) ** 0.25;

const first = (x) => slice(x, 0, x.v.length - 1);
const rest = (x) => slice(x, 1, x.v.length);

/** A first value at the top, `top` times the slope there, and the integral of `slope` (per ln tau) added downwards. */
export const integrate = (integral, slope, top = 1) =>
  add(multiply(top, slice(slope, 0, 1)), product(integral, slope));

const positive = (u) => (u < 1 ? 1 / (1 + (1 - u) + (1 - u) ** 2) : u);
const positiveSlope = (u) => (u < 1 ? (3 - 2 * u) * positive(u) ** 2 : 1);

/**
 * Column mass, made to increase inwards, and gas pressure over gravity, made positive everywhere and increasing wherever
 * g > a: `physics.physical_integrals`.
 *
 * m, p: column mass and gas pressure over gravity; dm, share: dm / dln(tau) and 1 - a/g; step: of ln(tau).
 */
export function physicalIntegrals(m, p, dm, share, step) {
  const half = step.map((s) => 0.5 * s);
  const cell = (f) => multiply(half, add(rest(f), first(f)));
  const small = multiply(SMALL, cell(dm));
  const gaining = (f, bound) => {
    const u = divide(subtract(subtract(rest(f), first(f)), bound), small);
    const lacking = each(u, (v) => (v < 1 ? positive(v) - v : 0), (v) => (v < 1 ? positiveSlope(v) - 1 : 0));
    return concatenate([slice(f, 0, 1), add(rest(f), cumulate(multiply(small, lacking)))]);
  };
  const mass = gaining(m, 0);
  const below = each(share, (v) => Math.min(v, 0) ** 3, (v) => 3 * Math.min(v, 0) ** 2);
  const bent = gaining(p, multiply(1 / SMALL ** 2, cell(multiply(dm, below))));
  const floor = multiply(SMALL, mass);
  return [mass, multiply(floor, each(divide(bent, floor), positive, positiveSlope))];
}
