/** Tensors of a `.safetensors` file: eight bytes with the length of a JSON header, the header, the numbers. */

const TYPES = { F64: Float64Array, F32: Float32Array };

/** {name: {data: Float64Array, shape}} of a file's ArrayBuffer. Raises Error for a file that is none. */
export function readSafetensors(buffer) {
  const view = new DataView(buffer);
  const length = Number(view.getBigUint64(0, true));
  if (8 + length > buffer.byteLength) throw new Error("not a .safetensors file, or only the beginning of one");
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const out = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (!(dtype in TYPES)) throw new Error(`the tensor '${name}' is of type ${dtype}, not F32 or F64`);
    const bytes = buffer.slice(8 + length + start, 8 + length + end);
    out[name] = { data: Float64Array.from(new TYPES[dtype](bytes)), shape };
  }
  return out;
}
