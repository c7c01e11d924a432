// Bounds every wait of a test, and names it when it fails.

/** Generous: it is only waited out by a failure. */
export const DEADLINE = 60_000;

export async function within(promise, what, deadline = DEADLINE) {
  let timer;
  const late = new Promise((_, reject) => {
    const error = new Error(`${what}: not within ${deadline} ms`);
    timer = setTimeout(() => reject(error), deadline);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A list that a test can wait on: for the first item, from now or before, that fits. */
export class Seen {
  #waiting = new Set();
  all = [];

  add(item) {
    this.all.push(item);
    for (const look of this.#waiting) look(item);
  }

  next(fits, what, deadline) {
    const found = this.all.find(fits);
    if (found !== undefined) return Promise.resolve(found);
    let look;
    const coming = new Promise((resolve) => {
      look = (item) => fits(item) && resolve(item);
      this.#waiting.add(look);
    });
    return within(coming, what, deadline).finally(() => this.#waiting.delete(look));
  }
}
