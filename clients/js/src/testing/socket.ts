// A WebSocket whose other end is in the hands of the gateway of tests.

/** Who is told what the library does with it. */
export interface OtherEnd {
  dialled(socket: Socket): void;
  said(socket: Socket, text: string): void;
  left(socket: Socket, code: number): void;
}

const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3];

export class Socket {
  readyState = CONNECTING;
  readonly bufferedAmount = 0;
  onopen?: (event: object) => void;
  onmessage?: (event: { data: string }) => void;
  onclose?: (event: { code: number; reason: string }) => void;
  onerror?: (event: object) => void;

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

  close(code = 1000): void {
    if (this.readyState >= CLOSING) return;
    this.readyState = CLOSED;
    this.other.left(this, code);
  }

  /** The other end takes it. */
  opened(): void {
    if (this.readyState !== CONNECTING) return;
    this.readyState = OPEN;
    this.onopen?.({});
  }

  says(message: object): void {
    if (this.isOpen) this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** The other end goes. */
  ends(code: number, reason: string): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    this.onclose?.({ code, reason });
  }
}
