// `for await` over events that come whether or not somebody is ready for them.

export class Iteration<T> implements AsyncIterableIterator<T> {
  #buffer: T[] = [];
  #waiting: { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void }[] = [];
  #ended = false;
  #error: unknown;

  constructor(
    private readonly max: number,
    private readonly overflow: () => unknown,
    private readonly detach: (iteration: Iteration<T>) => void,
  ) {}

  /** Past the bound nothing is dropped in silence: the iteration ends, and says why. */
  push(item: T): void {
    if (this.#ended) return;
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ value: item, done: false });
    else if (this.#buffer.length < this.max) this.#buffer.push(item);
    else this.end(this.overflow());
  }

  /** What is in the buffer is still given, then the error, then nothing more. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.detach(this);
    for (const waiting of this.#waiting.splice(0)) this.#last().then(waiting.resolve, waiting.reject);
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#buffer.length) return Promise.resolve({ value: this.#buffer.shift()!, done: false });
    if (this.#ended) return this.#last();
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<T>> {
    this.#buffer = [];
    this.end();
    this.#error = undefined;
    return this.#last();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The error once, as an iteration throws once. */
  #last(): Promise<IteratorResult<T>> {
    const error = this.#error;
    this.#error = undefined;
    return error ? Promise.reject(error) : Promise.resolve({ value: undefined, done: true });
  }
}
