/** Files of one atmosphere, byte for byte as `sme-pinn-atmo predict` writes them (grids/, cli/). */

import { elements } from "./composition.js";
import { tau5000 } from "./continuum.js";
import { exponent, fixed, repr } from "./format.js";
import { interpolate } from "./physics.js";

/** Depths of MARCS models, log10 tau_Ross: -5 to -3 by 0.2, to 1 by 0.1, to 2 by 0.2. */
const range = (start, n, step) => Array.from({ length: n }, (_, i) => (Math.round(10 * start) + i * step) / 10);
export const MARCS_LOG_TAU = [...range(-5, 11, 2), ...range(-2.9, 40, 1), ...range(1.2, 5, 2)];

const layers = (atm, write) => Array.from(atm.rhox, (_, i) => write((name) => atm[name][i], i));

function kurucz(atm, site) {
  const { labels } = atm;
  const mixture = elements(site.composition, atm.solar_scale);
  const helium = 10 ** (mixture.find((e) => e.symbol === "He").solar - 12);
  const hydrogen = 1 / (1 + helium);
  const change = mixture.filter((e) => e.metal).map((e) =>
    `${String(e.z).padStart(3)}${fixed(e.solar - 12 + Math.log10(hydrogen) + (e.alpha ? labels.alpha_m ?? 0 : 0), 2, 7)}`);
  const groups = change.flatMap((_, i) => (i % 6 ? [] : [` ABUNDANCE CHANGE${change.slice(i, i + 6).join("")}`]));
  const vturb = exponent((labels.vturb ?? 0) * 1e5, 3, 9);
  return [
    `TEFF ${fixed(labels.teff, 0, 7)}.  GRAVITY ${fixed(labels.logg, 4, 7)} LTE `,
    `TITLE ${atm.source}`,
    " OPACITY IFOP 1 1 1 1 1 1 1 1 1 1 1 1 1 0 1 0 1 0 0 0",
    " CONVECTION ON   1.25 TURBULENCE OFF  0.00  0.00  0.00  0.00",
    `ABUNDANCE SCALE ${fixed(10 ** (labels.m_h ?? 0), 5, 9)} ABUNDANCE CHANGE 1 ${fixed(hydrogen, 5)} ` +
      `2 ${fixed(1 - hydrogen, 5)}`,
    ...groups,
    `READ DECK6 ${String(atm.rhox.length).padStart(2)} RHOX,T,P,XNE,ABROSS,ACCRAD,VTURB`,
    ...layers(atm, (get) => [exponent(get("rhox"), 8, 15), fixed(get("temperature"), 1, 8),
      ...["gas_pressure", "electron_density", "opacity", "radiative_acceleration"].map((n) => exponent(get(n), 3, 9)),
      vturb].join(" ")),
    "PRADK 0.0000E+00",
    "BEGIN                    ITERATION   0 COMPLETED",
    "",
  ].join("\n");
}

/** A layer of MOOG and Turbospectrum. */
const layer = (atm) => layers(atm, (get) => [exponent(get("rhox"), 8, 15), fixed(get("temperature"), 1, 9),
  ...["gas_pressure", "electron_density", "opacity", "radiative_acceleration"].map((n) => exponent(get(n), 3, 10)),
  exponent(1e5 * (atm.labels.vturb ?? 0), 3, 10)].join(" "));

function moog(atm, site) {
  const { teff, logg, m_h: mH = 0, alpha_m: alphaM = 0, vturb = 0 } = atm.labels;
  if (atm.rhox.length > 100) throw new Error(`MOOG takes at most 100 layers, not ${atm.rhox.length}`);
  const changed = elements(site.composition, atm.solar_scale).filter((e) => e.alpha && alphaM)
    .map((e) => `${fixed(e.z, 1, 5)} ${fixed(e.solar + mH + alphaM, 3, 7)}`);
  return [
    "KURUCZ",
    `teff=${fixed(teff, 1)} logg=${fixed(logg, 3)} m_h=${fixed(mH, 3, 0, true)} alpha_m=${fixed(alphaM, 3, 0, true)}`,
    `NTAU      ${String(atm.rhox.length).padStart(5)}`,
    ...layer(atm),
    exponent(vturb, 3, 13),
    `NATOMS    ${String(changed.length).padStart(5)} ${fixed(mH, 3, 7)}`,
    ...changed,
    "NMOL          0",
    "",
  ].join("\n");
}

const turbospectrum = (atm) =>
  [`'KURUCZ' ${atm.rhox.length} 5000. ${fixed(atm.labels.logg, 3)} 0 0.`, ...layer(atm), ""].join("\n");

/** Trapezoid sums of `y` over `x`, from zero on. */
function trapezoids(x, y) {
  const out = new Float64Array(x.length);
  for (let i = 1; i < x.length; i++) out[i] = out[i - 1] + (x[i] - x[i - 1]) * 0.5 * (y[i] + y[i - 1]);
  return out;
}

function marcs(atm, site) {
  const { teff, logg, m_h: mH = 0, alpha_m: alphaM = 0, vturb = 0 } = atm.labels;
  const { boltzmann, atomic_mass: u, stefan_boltzmann: sigma, solar_luminosity: sun } = site.constants;
  const mixture = elements(site.composition, atm.solar_scale);
  const logTau = atm.tau_ross.map(Math.log10);
  const log5000 = tau5000(atm, mixture, { ...site.continuum, boltzmann }).map(Math.log10);
  const sums = trapezoids(atm.rhox, atm.density.map((rho) => 1 / rho));
  const zero = interpolate(0, logTau, sums);
  const acceleration = trapezoids(atm.rhox, atm.radiative_acceleration);
  const abundance = Object.fromEntries(mixture.map((e) =>
    [e.z, e.solar + (e.z > 2 ? mH : 0) + (e.alpha ? alphaM : 0)]));
  const numbers = Array.from({ length: 92 }, (_, i) => fixed(abundance[i + 1] ?? -99, 2, 7));
  return [
    `sme_pinn_atmo ${atm.source}`.slice(0, 72),
    `${fixed(teff, 0, 7)}.      Teff [K].         By a neural network, not a MARCS model`,
    `${exponent(1e3 * sigma * teff ** 4, 4, 12)} Flux [erg/cm2/s]`,
    `${exponent(10 ** logg, 4, 12)} Surface gravity [cm/s2]`,
    `${fixed(vturb, 1, 5)}        Microturbulence parameter [km/s]`,
    atm.radius ? `${exponent(atm.labels.mass, 4, 12)} Mass [Msun]` : "  0.0        No mass for plane-parallel models",
    ` ${fixed(mH, 2, 0, true)} ${fixed(alphaM, 2, 0, true)} Metallicity [Fe/H] and [alpha/Fe]`,
    ...(atm.radius
      ? [`${exponent(atm.radius, 4, 12)} Radius [cm] at Tau(Rosseland)=1.0`,
        `${exponent(4e3 * Math.PI * atm.radius ** 2 * sigma * teff ** 4 / sun, 4, 12)} Luminosity [Lsun]`]
      : ["  1.0000E+00 1 cm radius for plane-parallel models", "  0.0000E+00 Luminosity [Lsun] FOR A RADIUS OF 1 cm!"]),
    "  0.00 0.00 0.000 0.00 are the convection parameters: alpha, nu, y and beta",
    "  0.00000 0.00000 0.00E+00 are X, Y and Z, not given",
    "Logarithmic chemical number abundances, H always 12.00",
    ...numbers.flatMap((_, i) => (i % 10 ? [] : [numbers.slice(i, i + 10).join("")])),
    `${String(atm.rhox.length).padStart(4)} Number of depth points`,
    "Model structure",
    " k lgTauR  lgTau5    Depth     T        Pe          Pg         Prad       Pturb",
    ...layers(atm, (get, i) => [String(i + 1).padStart(3), fixed(logTau[i], 2, 5), fixed(log5000[i], 4, 7),
      exponent(atm.radius ? -get("height") : sums[i] - zero, 3, 10), fixed(get("temperature"), 1, 7), "",
      exponent(get("electron_density") * boltzmann * get("temperature"), 4, 10), "",
      exponent(get("gas_pressure"), 4, 10), "",
      exponent(atm.radiative_acceleration[0] * atm.rhox[0] + acceleration[i], 4, 10), "", "0.0000E+00"].join(" ")),
    " k lgTauR    KappaRoss   Density   Mu      Vconv   Fconv/F      RHOX",
    ...layers(atm, (get, i) => [String(i + 1).padStart(3), fixed(logTau[i], 2, 5), "", exponent(get("opacity"), 4, 10), "",
      exponent(get("density"), 4, 10), fixed(get("density") / get("atom_density") / u, 3, 5), "", "0.000E+00 0.00000", "",
      exponent(get("rhox"), 6, 12)].join(" ")),
    "",
  ].join("\n");
}

const meta = (atm) => ({ ...atm.labels, ...(atm.radius ? { radius: atm.radius } : {}), solar_scale: atm.solar_scale, source: atm.source });
const text = (value) => (typeof value === "number" ? repr(value) : value);

/** The table that astropy writes of a QTable of the profiles. */
function ecsv(atm, site) {
  const names = Object.keys(site.profiles);
  const unit = (name) => site.profiles[name].ecsv;
  const head = [
    "%ECSV 1.0",
    "---",
    "datatype:",
    ...names.map((n) => `- {name: ${n}, ${unit(n) ? `unit: ${unit(n)}, ` : ""}datatype: float64}`),
    "meta: !!omap",
    ...Object.entries(meta(atm)).map(([key, value]) => `- {${key}: ${text(value)}}`),
    "- __serialized_columns__:",
    ...[...names].sort().flatMap((n) => [
      `    ${n}:`,
      "      __class__: astropy.units.quantity.Quantity",
      `      unit: !astropy.units.Unit {unit: ${unit(n) || "''"}}`,
      `      value: !astropy.table.SerializedColumn {name: ${n}}`,
    ]),
    "schema: astropy-2.0",
  ];
  const rows = layers(atm, (get) => names.map((n) => repr(get(n))).join(" "));
  return [...head.map((line) => `# ${line}`), names.join(" "), ...rows, ""].join("\n");
}

/** As Python's json.dumps(..., indent=1). */
function json(atm, site) {
  const names = Object.keys(site.profiles);
  const quoted = (value) => (typeof value === "number" ? repr(value) : JSON.stringify(value));
  const block = (entries) => `{\n${entries.map(([k, v]) => `  ${JSON.stringify(k)}: ${v}`).join(",\n")}\n }`;
  const list = (name) => `[\n${Array.from(atm[name], (v) => `   ${repr(v)}`).join(",\n")}\n  ]`;
  return `{\n "meta": ${block(Object.entries(meta(atm)).map(([k, v]) => [k, quoted(v)]))},\n` +
    ` "units": ${block(names.map((n) => [n, JSON.stringify(site.profiles[n].ecsv)]))},\n` +
    ` "columns": ${block(names.map((n) => [n, list(n)]))}\n}\n`;
}

/** By the name of the format: suffix, who reads it, and the text of an atmosphere (model.js). */
export const FORMATS = {
  kurucz: { suffix: "dat", title: "Kurucz deck", write: kurucz },
  marcs: { suffix: "mod", title: "MARCS", write: marcs, logTau: MARCS_LOG_TAU },
  moog: { suffix: "moog", title: "MOOG", write: moog },
  turbospectrum: { suffix: "turbospectrum", title: "Turbospectrum", write: turbospectrum },
  ecsv: { suffix: "ecsv", title: "ECSV table", write: ecsv },
  json: { suffix: "json", title: "JSON", write: json },
};
