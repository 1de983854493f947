/**
 * Rows of numbers that carry their derivatives: what is written once for a profile gives its Jacobian as well.
 *
 * A Row has values `v` (Float64Array) and a list `d` of derivatives, one Float64Array for each label, or none at all.
 * Rows of one number go with rows of any length; plain numbers and Float64Arrays are constants.
 */

export class Row {
  constructor(v, d = []) {
    this.v = v;
    this.d = d;
  }
}

export const constant = (x) => (x instanceof Row ? x : new Row(typeof x === "number" ? Float64Array.of(x) : x));

/** f of every number, with slope(x, f(x)). */
export function each(x, f, slope) {
  const n = x.v.length;
  const v = new Float64Array(n);
  for (let i = 0; i < n; i++) v[i] = f(x.v[i]);
  if (!x.d.length) return new Row(v);
  const s = new Float64Array(n);
  for (let i = 0; i < n; i++) s[i] = slope(x.v[i], v[i]);
  const d = x.d.map((given) => {
    const row = new Float64Array(n);
    for (let i = 0; i < n; i++) row[i] = s[i] * given[i];
    return row;
  });
  return new Row(v, d);
}

/** f(a, b) number by number; slopes(a, b) give the two partial derivatives. */
function both(a, b, f, slopeA, slopeB) {
  [a, b] = [constant(a), constant(b)];
  // A row of one number stands for one of any length: its index stays 0.
  const [sa, sb] = [a.v.length === 1 ? 0 : 1, b.v.length === 1 ? 0 : 1];
  const n = Math.max(a.v.length, b.v.length);
  const v = new Float64Array(n);
  for (let i = 0; i < n; i++) v[i] = f(a.v[i * sa], b.v[i * sb]);
  const labels = Math.max(a.d.length, b.d.length);
  if (!labels) return new Row(v);
  const d = Array.from({ length: labels }, () => new Float64Array(n));
  for (const [x, step, slope] of [[a, sa, slopeA], [b, sb, slopeB]]) {
    if (!x.d.length) continue;
    const s = new Float64Array(n);
    for (let i = 0; i < n; i++) s[i] = slope(a.v[i * sa], b.v[i * sb]);
    for (let k = 0; k < labels; k++) {
      const [row, given] = [d[k], x.d[k]];
      for (let i = 0; i < n; i++) row[i] += s[i] * given[i * step];
    }
  }
  return new Row(v, d);
}

export const add = (a, b) => both(a, b, (x, y) => x + y, () => 1, () => 1);
export const subtract = (a, b) => both(a, b, (x, y) => x - y, () => 1, () => -1);
export const multiply = (a, b) => both(a, b, (x, y) => x * y, (x, y) => y, (x) => x);
export const divide = (a, b) => both(a, b, (x, y) => x / y, (x, y) => 1 / y, (x, y) => -x / (y * y));
export const larger = (a, b) => both(a, b, Math.max, (x, y) => (x >= y ? 1 : 0), (x, y) => (x >= y ? 0 : 1));
export const clip = (x, low, high) =>
  each(x, (v) => Math.min(Math.max(v, low), high), (v) => (v < low || v > high ? 0 : 1));
export const exp = (x) => each(x, Math.exp, (_, y) => y);
export const log = (x) => each(x, Math.log, (v) => 1 / v);
export const log1p = (x) => each(x, Math.log1p, (v) => 1 / (1 + v));
export const sigmoid = (x) => each(x, (v) => 1 / (1 + Math.exp(-v)), (_, s) => s * (1 - s));
export const silu = (x) =>
  each(x, (v) => v / (1 + Math.exp(-v)), (v) => {
    const s = 1 / (1 + Math.exp(-v));
    return s * (1 + v * (1 - s));
  });

/** A part of a row, from `start` to before `end`. */
export const slice = (x, start, end) => new Row(x.v.slice(start, end), x.d.map((d) => d.slice(start, end)));

/** Rows one after the other. */
export function concatenate(rows) {
  const join = (parts) => Float64Array.from(parts.flatMap((p) => [...p]));
  const n = Math.max(...rows.map((r) => r.d.length));
  const d = Array.from({ length: n }, (_, k) => join(rows.map((r) => r.d[k] ?? new Float64Array(r.v.length))));
  return new Row(join(rows.map((r) => r.v)), d);
}

const through = (x, f) => new Row(f(x.v), x.d.map(f));

/** Sums of all numbers up to each. */
export const cumulate = (x) =>
  through(x, (a) => {
    let sum = 0;
    return a.map((value) => (sum += value));
  });

/** Matrix times row. `matrix` has `data` (row after row, Float64Array), `rows` and `columns`. */
export function product(matrix, x) {
  const [v, ...d] = timesEach(matrix, [x.v, ...x.d]);
  return new Row(v, d);
}

export const times = (matrix, a) => timesEach(matrix, [a])[0];

/** The products with several vectors: each row of the matrix is fetched once for all of them. */
function timesEach({ data, rows, columns }, vectors) {
  const out = vectors.map(() => new Float64Array(rows));
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < vectors.length; k++) out[k][r] = dot(data, r * columns, vectors[k], columns);
  }
  return out;
}

/** Sum of data[at + c] a[c], in four sums at once: one alone would wait for itself. */
function dot(data, at, a, n) {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  let c = 0;
  for (; c + 3 < n; c += 4, at += 4) {
    s0 += data[at] * a[c];
    s1 += data[at + 1] * a[c + 1];
    s2 += data[at + 2] * a[c + 2];
    s3 += data[at + 3] * a[c + 3];
  }
  for (; c < n; c++, at++) s0 += data[at] * a[c];
  return s0 + s1 + (s2 + s3);
}
