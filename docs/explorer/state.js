/** The state of the page, and the address that holds it. */

/** What is shown, by name; the first is the usual one. */
export const CHOICES = { show: ["profiles", "error", "difference", "derivative"], x: ["tau", "mass", "height"] };

/** Text of an address' fragment: star A's labels by their names, star B's with a 2 behind. */
export function write({ a, b, compare, show, x, by }) {
  const out = new URLSearchParams();
  for (const [star, behind] of [[a, ""], ...(compare ? [[b, "2"]] : [])]) {
    out.set(`model${behind}`, star.model);
    for (const [name, value] of Object.entries(star.labels)) out.set(name + behind, String(value));
    if (star.geometry) out.set(`geometry${behind}`, star.geometry);
  }
  if (show !== CHOICES.show[0]) out.set("show", show);
  if (show === "derivative") out.set("by", by);
  if (x !== CHOICES.x[0]) out.set("x", x);
  return out.toString();
}

/** The state that a fragment holds; what it does not hold, or holds wrongly, is as in `usual`. labels: all that there are. */
export function read(fragment, usual, models, labels) {
  const given = new URLSearchParams(fragment.replace(/^#/, ""));
  const star = (behind, fallback) => {
    const model = models.includes(given.get(`model${behind}`)) ? given.get(`model${behind}`) : fallback.model;
    const numbers = labels.filter((n) => given.has(n + behind) && Number.isFinite(Number(given.get(n + behind) || NaN)));
    const geometry = ["plane", "sphere"].includes(given.get(`geometry${behind}`)) ? given.get(`geometry${behind}`) : null;
    return { model, geometry, labels: { ...fallback.labels, ...Object.fromEntries(numbers.map((n) => [n, Number(given.get(n + behind))])) } };
  };
  const choice = (name) => (CHOICES[name].includes(given.get(name)) ? given.get(name) : usual[name]);
  const a = star("", usual.a);
  return {
    a, compare: given.has("model2"), b: given.has("model2") ? star("2", a) : usual.b, show: choice("show"),
    x: choice("x"), by: labels.includes(given.get("by")) ? given.get("by") : usual.by,
  };
}
