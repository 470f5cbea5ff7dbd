/** Seeds as text, as the server reads and writes them: "7", "0-3,10". A walk, a page and a link all use it. */

const SEED_END = 2 ** 32;

/**
 * @param {string} text such as "0-3,10"
 * @param {number} most how many seeds are too many; a range is counted before it is laid out
 * @returns {number[]} in the order given
 * @throws {RangeError} in words for people
 */
export function parseSeeds(text, most = 1024) {
  const ranges = text.split(",").map(parseRange);
  const count = ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  if (count > most) {
    throw new RangeError(
      `${count.toLocaleString("en")} seeds are more than the ${most.toLocaleString("en")} that are sampled at once.`,
    );
  }
  return ranges.flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, index) => first + index),
  );
}

function parseRange(part) {
  const match = /^\s*(\d{1,20})\s*(?:-\s*(\d{1,20})\s*)?$/.exec(part);
  if (!match) {
    throw new RangeError(`“${part.trim() || " "}” is not a seed. Seeds are whole numbers: 7, or 0-3,10.`);
  }
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  if (last >= SEED_END || first >= SEED_END) {
    throw new RangeError("The last seed is 4294967295.");
  }
  if (last < first) {
    throw new RangeError(`The range ${part.trim()} runs backwards: write ${last}-${first}.`);
  }
  return [first, last];
}

/** The shortest text for seeds, in their order: [0, 1, 2, 10] is "0-2,10". */
export function seedsAsText(seeds) {
  const runs = [];
  for (const seed of seeds) {
    const run = runs.at(-1);
    if (run && seed === run[1] + 1) {
      run[1] = seed;
    } else {
      runs.push([seed, seed]);
    }
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

/** The page of `count` seeds from `first` on, moved down where it would pass the last seed. */
export function pageFrom(first, count) {
  const start = Math.min(Math.max(0, first), SEED_END - count);
  return seedsAsText(Array.from({ length: count }, (_, index) => start + index));
}

/** A random seed. Below a billion: any seed is as good as another, and shorter ones are easier to say. */
export function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000_000;
}

/** Seeds that follow each other are a page, which has a next and a previous one. */
export function isRun(seeds) {
  return seeds.every((seed, index) => seed === seeds[0] + index);
}
