/** Numbers as Python writes them, so that files from here and from the command line are the same, byte for byte. */

/**
 * What `written(digits)` gives, a number with so many digits from where `start` says, rounded to even where JavaScript
 * rounds an exact half up.
 */
function even(written, digits, start) {
  const text = written(digits);
  // A double that lies on a half has few digits: nothing but zeros follow the 5.
  const more = written(Math.min(100, digits + 60));
  const [head, power = ""] = more.split("e");
  const tail = head.slice(start(head) + digits);
  if (!/^50*$/.test(tail)) return text;
  const down = head.slice(0, start(head) + digits).replace(/\.$/, "");
  if (Number(down.at(-1)) % 2) return text;
  return power ? `${down}e${power}` : down;
}

const signed = (x, text, plus) => (x < 0 || Object.is(x, -0) ? "-" : plus ? "+" : "") + text;

/** As Python's f"{x:{width}.{digits}f}"; `plus` writes the sign of positive numbers too. */
export function fixed(x, digits, width = 0, plus = false) {
  const text = even((n) => Math.abs(x).toFixed(n), digits, (head) => head.indexOf(".") + 1);
  return signed(x, text, plus).padStart(width);
}

/** As Python's f"{x:{width}.{digits}E}". */
export function exponent(x, digits, width = 0) {
  const text = even((n) => Math.abs(x).toExponential(n), digits, () => 2);
  const [head, power] = text.split("e");
  return signed(x, `${head}E${power[0]}${power.slice(1).padStart(2, "0")}`).padStart(width);
}

/** As Python's f"{x:.{digits}g}". */
export function general(x, digits = 6) {
  if (x === 0) return signed(x, "0");
  const [head, power] = exponent(x, digits - 1).split("E");
  const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  return power < -4 || power >= digits ? `${trim(head)}e${power}` : trim(fixed(x, digits - 1 - Number(power)));
}

/** As Python's repr(x): the shortest digits that give the number back. */
export function repr(x) {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x < 0 ? "-inf" : "inf";
  if (x === 0) return signed(x, "0.0");
  const [head, power] = Math.abs(x).toExponential().split("e");
  if (power < -4 || power >= 16) return signed(x, `${head}e${power[0]}${power.slice(1).padStart(2, "0")}`);
  const digits = head.replace(".", "");
  const point = Number(power) + 1;
  const text = point <= 0 ? `0.${"0".repeat(-point)}${digits}`
    : digits.length <= point ? `${digits.padEnd(point, "0")}.0`
    : `${digits.slice(0, point)}.${digits.slice(point)}`;
  return signed(x, text);
}
