/**
 * The page's JavaScript against values from Python: the same checks in Node and in a browser.
 *
 * `load(path)` gives the ArrayBuffer of a file of the site, `module(path)` one of its modules.
 */

const json = async (load, path) => JSON.parse(new TextDecoder().decode(await load(path)));

export async function model(name, { load, module }) {
  const { Model } = await module("model.js");
  return new Model(await json(load, `models/${name}.json`), await load(`models/${name}.safetensors`),
    await json(load, "site.json"));
}

/** The stars of a golden file (`julia_export.write_golden`). */
function readGolden(buffer) {
  const bytes = new Uint8Array(buffer);
  const end = bytes.indexOf(10);
  const [n, nLabel, nField, nDepth, nTau] = new TextDecoder().decode(bytes.slice(0, end)).split(" ").map(Number);
  const numbers = new Float64Array(buffer.slice(end + 1));
  let at = 0;
  const next = (size) => numbers.slice(at, (at += size));
  const tau = next(nTau);
  const stars = Array.from({ length: n }, () => ({ x: [...next(nLabel)], value: next(nField * nDepth),
    jacobian: next(nField * nDepth * nLabel), there: next(nField * nTau) }));
  return { tau, stars, nLabel, nField, nDepth, nTau };
}

/** Largest differences of ln profiles, of their derivatives per range of a label, and of ln profiles at other depths. */
export async function golden(name, site) {
  const { network, domain } = await model(name, site);
  const { tau, stars, nLabel, nField, nDepth, nTau } = readGolden(await site.load(`golden/${name}.bin`));
  const out = { stars: stars.length, value: 0, jacobian: 0, there: 0 };
  const worst = (key, difference) => {
    if (!(difference <= out[key])) out[key] = difference; // NaN counts
  };
  for (const [n, star] of stars.entries()) {
    const rows = network.logProfiles(star.x, { derivatives: true });
    if (rows.length !== nField || rows[0].v.length !== nDepth) throw new Error(`${rows.length} fields of ${nField}`);
    const range = domain.upper.map((high, k) => high - domain.lower[k]);
    const scale = star.jacobian.reduce((most, v, i) => Math.max(most, Math.abs(v * range[i % nLabel])), 1);
    for (let f = 0; f < nField; f++) {
      for (let i = 0; i < nDepth; i++) {
        const at = f * nDepth + i;
        worst("value", Math.abs(rows[f].v[i] - star.value[at]));
        for (let k = 0; k < nLabel; k++) {
          worst("jacobian", Math.abs(rows[f].d[k][i] - star.jacobian[at * nLabel + k]) * range[k] / scale);
        }
      }
    }
    if (n % 8) continue;
    const there = network.logProfiles(star.x, { tau });
    for (let f = 0; f < nField; f++) {
      for (let i = 0; i < nTau; i++) worst("there", Math.abs(there[f].v[i] - star.there[f * nTau + i]));
    }
  }
  return out;
}

/** For each star of a file: what the page says of it, and the files that it writes. */
export async function stars(path, site) {
  const { FORMATS } = await site.module("files.js");
  const out = [];
  for (const { model: name, labels, geometry, profiles, radius } of await json(site.load, path)) {
    const m = await model(name, site);
    const x = m.stack(labels);
    const star = { inside: m.domain.inside(x), complaint: m.domain.complaint(x), nearest: m.domain.nearest(x) };
    if (star.inside) {
      const atm = m.predict(labels, { geometry });
      star.profiles = Object.fromEntries(Object.keys(m.site.profiles).map((n) => [n, [...atm[n]]]));
      star.radius = atm.radius ?? null;
      star.std = Object.fromEntries(Object.entries(m.std(atm) ?? {}).map(([n, v]) => [n, [...v]]));
      star.files = Object.fromEntries(Object.entries(FORMATS).map(([kind, { write, logTau = null }]) =>
        [kind, write(m.predict(labels, { logTau, geometry }), m.site)]));
      // The writers alone, on the very numbers of Python.
      star.same = Object.fromEntries(Object.entries(FORMATS).map(([kind, { write }]) => {
        const given = profiles[kind === "marcs" ? "marcs" : "own"];
        const exact = Object.fromEntries(Object.entries(given).map(([n, v]) => [n, Float64Array.from(v)]));
        return [kind, write({ ...atm, ...exact, ...(radius && { radius }) }, m.site)];
      }));
    }
    out.push(star);
  }
  return out;
}

/** Numbers in all formats of format.js. */
export async function numbers(values, site) {
  const { exponent, fixed, general, repr } = await site.module("format.js");
  return values.map((v) => [fixed(v, 0, 7), fixed(v, 1, 8), fixed(v, 3, 0, true), exponent(v, 3, 9), exponent(v, 8, 15),
    general(v), general(v, 3), repr(v)]);
}

/** In Node: node explorer_check.mjs FOLDER FUNCTION [ARGUMENT as JSON], the result as JSON. */
async function main([folder, name, argument]) {
  const { readFile } = await import("node:fs/promises");
  const { pathToFileURL } = await import("node:url");
  const base = pathToFileURL(`${folder}/`);
  const site = {
    load: async (path) => {
      const { buffer, byteOffset, byteLength } = await readFile(new URL(path, base));
      return buffer.slice(byteOffset, byteOffset + byteLength);
    },
    module: (path) => import(new URL(path, base)),
  };
  const check = { golden, stars, numbers }[name];
  console.log(JSON.stringify(await (argument === undefined ? check(site) : check(JSON.parse(argument), site))));
}

if (typeof process !== "undefined" && process.argv[1]?.endsWith("explorer_check.mjs")) await main(process.argv.slice(2));
