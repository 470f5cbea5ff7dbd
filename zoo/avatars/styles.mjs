// The ten styles and what each image's options are chosen from.
//
// An option is chosen from the list that the style's own schema has as its default, unless it stands here:
//   only: lists in the place of the schema's own
//   without: values that are left out of the schema's own list
//   chance: percent of the images that have an optional part (beard, glasses, ...), in the place of the schema's own
//   hair, skin: the option that the table calls so, where the style has another name for it
//   glasses: the values of an option that are glasses, where the style has no option of that name

export const BACKGROUNDS = ["b6e3f4", "c0aede", "d1d4f9", "ffd5dc", "ffdfbf", "c8ecd3", "fff1b8", "e3e6ea"];

const HAIR = ["0e0e0e", "2c1b18", "4a312c", "724133", "a55728", "c93305", "d6b370", "e8e1e1", "5b8def", "d96aa7"];
const SKIN = ["ffe0c8", "f2c9a1", "d9a066", "b07a4f", "8a5a3c", "5e3a28"];

export const STYLES = {
  adventurer: { chance: { glasses: 20, earrings: 15, features: 15 } },
  avataaars: {
    without: { eyes: ["xDizzy", "cry"], mouth: ["vomit"], skinColor: ["fd9841"] },
    chance: { accessories: 25, facialHair: 15 },
    hair: "top",
    glasses: { accessories: ["kurt", "prescription01", "prescription02", "round", "sunglasses", "wayfarers"] },
  },
  "big-smile": { chance: { accessories: 40 }, glasses: { accessories: ["glasses", "sunglasses"] } },
  bottts: { skin: "baseColor" },
  lorelei: { only: { hairColor: HAIR, skinColor: SKIN }, chance: { glasses: 20, beard: 10, earrings: 15 } },
  micah: {
    only: { hairColor: ["000000", "77311d", "ac6651", "f4d150", "fc909f", "6bd9e9", "9287ff", "ffffff"] },
    chance: { glasses: 20, earrings: 25, facialHair: 15 },
    skin: "baseColor",
  },
  "open-peeps": {
    only: { headContrastColor: ["2c1b18", "4a312c", "724133", "a55728", "b58143", "c93305", "d6b370", "e8e1e1"] },
    without: { face: ["angryWithFang", "cyclops", "monster"] },
    chance: { accessories: 25, facialHair: 15, mask: 3 },
    hair: "head",
    glasses: { accessories: ["glasses", "glasses2", "glasses3", "glasses4", "glasses5", "sunglasses", "sunglasses2"] },
  },
  personas: { chance: { facialHair: 15 }, glasses: { eyes: ["glasses", "sunglasses"] } },
  "pixel-art": { chance: { glasses: 20, hat: 10, beard: 10, accessories: 10 } },
  "toon-head": { chance: { beard: 25, rearHair: 50 } },
};
