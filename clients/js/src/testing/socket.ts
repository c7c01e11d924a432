// A WebSocket whose other end is in the hands of the gateway of tests.

/** Who is told what the library does with it. */
export interface OtherEnd {
  dialled(socket: Socket): void;
  said(socket: Socket, text: string): void;
  left(socket: Socket): void;
}

const [CONNECTING, OPEN, CLOSED] = [0, 1, 3];

export class Socket {
  readyState = CONNECTING;
  readonly bufferedAmount = 0;
  onopen?: (event: object) => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: (event: { code: number; reason: string }) => void;
  onerror?: (event: object) => void;
  #unheard: string[] = [];
  #saying = false;

  constructor(readonly url: string, private readonly other: OtherEnd) {
    if (!/^(ws|http)s?:$/.test(new URL(url, globalThis.location?.href).protocol)) {
      throw new SyntaxError(`the URL ${url} is no WebSocket's`);
    }
    other.dialled(this);
  }

  get isOpen(): boolean {
    return this.readyState === OPEN;
  }

  send(text: string): void {
    this.other.said(this, text);
  }

  close(): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.other.left(this);
  }

  /** The other end takes it. */
  opened(): void {
    if (this.readyState !== CONNECTING) return;
    this.readyState = OPEN;
    this.onopen?.({});
  }

  /** One after another: what somebody has said who is hearing something comes behind it. */
  says(...messages: object[]): void {
    this.#unheard.push(...messages.map((message) => JSON.stringify(message)));
    if (this.#saying) return;
    this.#saying = true;
    for (let data; (data = this.#unheard.shift()) !== undefined; ) if (this.isOpen) this.onmessage?.({ data });
    this.#saying = false;
  }

  /** The other end goes. */
  ends(code: number, reason: string): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.onclose?.({ code, reason });
  }
}
