/** Latents by seed, bit for bit those of NumPy's `RandomState(seed).standard_normal(z_dim)`, and paths between them. */

/** MT19937 (Matsumoto and Nishimura 1998), as `RandomState` seeds it. */
function* uniform53(seed) {
  const state = new Uint32Array(624);
  state[0] = seed;
  for (let i = 1; i < 624; i += 1) {
    state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
  }
  let at = 624;
  const word = () => {
    if (at === 624) {
      for (let i = 0; i < 624; i += 1) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      at = 0;
    }
    let y = state[at];
    at += 1;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  for (;;) {
    const high = word() >>> 5;
    yield (high * 67108864 + (word() >>> 6)) / 9007199254740992;
  }
}

/** @returns {Float32Array} the latent of a seed; Marsaglia's polar method gives two numbers at a time, the second first */
export function latentOf(seed, zDim) {
  const source = uniform53(seed);
  const next = () => 2 * source.next().value - 1;
  const latent = new Float32Array(zDim);
  for (let i = 0; i < zDim; i += 2) {
    let a, b, square;
    do {
      a = next();
      b = next();
      square = a * a + b * b;
    } while (square >= 1 || square === 0);
    const factor = Math.sqrt((-2 * Math.log(square)) / square);
    latent[i] = factor * b;
    if (i + 1 < zDim) latent[i + 1] = factor * a;
  }
  return latent;
}

/** @returns {Float32Array} the latent of a key: its own, or that of its seed */
export function latentOfKey({ seed, latent }, zDim) {
  return latent ? fromBase64(latent) : latentOf(seed, zDim);
}

/** @returns {string} float32 numbers in base64, as receipts have them */
export function toBase64(numbers) {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** @returns {Float32Array} the numbers; throws where the text is not base64 of float32 */
export function fromBase64(text) {
  return new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}

/** @returns {Float32Array} a latent moved by offsets along directions, which are in z */
export function moved(latent, offsets, directions) {
  return latent.map((value, i) => {
    const move = offsets.reduce((sum, offset, k) => sum + offset * (directions[k]?.[i] ?? 0), 0);
    return value + move;
  });
}

/** @returns {Float32Array} the point at t (0 to 1) of the great circle from a to b; the norm goes along linearly */
export function slerp(a, b, t) {
  const [normA, normB] = [Math.hypot(...a), Math.hypot(...b)];
  const cosine = a.reduce((sum, value, i) => sum + value * b[i], 0) / (normA * normB);
  const omega = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (!(Math.sin(omega) >= 1e-6)) return a.map((value, i) => value + t * (b[i] - value));
  const [wa, wb] = [(1 - t) * omega, t * omega].map((angle) => Math.sin(angle) / Math.sin(omega));
  const norm = (1 - t) * normA + t * normB;
  return a.map((value, i) => norm * ((wa * value) / normA + (wb * b[i]) / normB));
}

/**
 * @returns {Float32Array} the point at t from one key of a walk to the next: by `slerp` in z, and straight in the offsets
 *   in w, which may follow z
 */
export function between(a, b, t, zDim) {
  if (t === 0) return a;
  const z = slerp(a.subarray(0, zDim), b.subarray(0, zDim), t);
  return a.map((value, i) => (i < zDim ? z[i] : (1 - t) * value + t * b[i]));
}
