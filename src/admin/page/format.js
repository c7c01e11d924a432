// Figures and times as text. One place, so that the same figure reads the same everywhere.

export const NONE = "–";

/** Of what others wrote: characters that are not seen, or turn round what follows, by their number. */
const HIDDEN = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;
const number = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;
const seen = (text) => text.replace(HIDDEN, number);

/** The same, of its beginning: not half a character. */
export const foreign = (text, max = Infinity) =>
  text.length > max ? `${seen(text.slice(0, max).replace(/[\ud800-\udbff]$/, ""))}…` : seen(text);

/** A name that is nothing, or nothing to be seen, says so. */
export const name = (text) => (text.trim() === "" ? `(${text === "" ? "empty" : "blank"})` : foreign(text));

const plain = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 1 });
const finer = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 2 });
const compact = new Intl.NumberFormat("en-GB", { notation: "compact", maximumFractionDigits: 1 });
const clockTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** Turns a formatter of numbers into one that also takes what is not known. */
const orNone = (format) => (value) => (Number.isFinite(value) ? format(value) : NONE);

const short = (value) => {
  if (value >= 100_000) return compact.format(value);
  return value < 10 ? fine.format(value) : plain.format(value);
};

export const count = orNone((value) => (value >= 1_000_000 ? compact : plain).format(value));

/** `what`: a noun whose plural ends in s. */
export const countOf = (value, what) => `${count(value)} ${what}${value === 1 ? "" : "s"}`;

export const average = orNone(short);

export const rate = orNone((value) => `${short(value)}/s`);

export const millis = orNone((value) => {
  if (value < 1) return `${finer.format(value)} ms`;
  if (value < 1_000) return `${short(value)} ms`;
  return value < 60_000 ? `${fine.format(value / 1_000)} s` : duration(value);
});

export const bytes = orNone((value) => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1_024 && unit < units.length - 1; unit++) value /= 1_024;
  return `${unit === 0 ? plain.format(value) : short(value)} ${units[unit]}`;
});

export const byteRate = orNone((value) => `${bytes(value)}/s`);

/** The two largest units: "3 d 4 h", "12 s". */
export const duration = orNone((value) => {
  const seconds = Math.max(0, Math.floor(value / 1_000));
  const parts = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3_600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first < 0) return "0 s";
  const shown = parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return shown.map(([amount, unit]) => `${amount} ${unit}`).join(" ");
});

/** The time of day in the reader's zone. */
export const clock = orNone((value) => clockTime.format(value));

export const clockMillis = orNone((value) => {
  const millis = String(Math.floor(value) % 1_000).padStart(3, "0");
  return `${clock(value)}.${millis}`;
});
