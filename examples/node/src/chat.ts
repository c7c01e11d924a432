// The chat of ../../README.md: what myxi asks about every client, answered.

import { randomInt } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import type { CheckSubscriptionsRequest__Output } from './stubs/myxi/v1/CheckSubscriptionsRequest.js';
import type { CheckSubscriptionsResponse } from './stubs/myxi/v1/CheckSubscriptionsResponse.js';
import type { HandleActionRequest__Output } from './stubs/myxi/v1/HandleActionRequest.js';
import type { HandleActionResponse } from './stubs/myxi/v1/HandleActionResponse.js';
import type { Session__Output } from './stubs/myxi/v1/Session.js';
import type { SessionOpenedResponse } from './stubs/myxi/v1/SessionOpenedResponse.js';

const USERS = new Map([['adam-secret', 'adam'], ['eve-secret', 'eve']]);
const MOST_DICE = 1_000_000;

/** Pushes an event to whoever is in a room. */
export type Push = (room: string, event: string, payload: object) => Promise<void>;

/** A status and its message, which tell the client why not. */
export class Refused extends Error {
  constructor(readonly code: status, message: string) {
    super(message);
  }
}

const field = (payload: unknown, name: string) => (payload as Record<string, unknown> | null)?.[name];

function text(payload: unknown, name: string): string {
  const value = field(payload, name);
  if (typeof value === 'string') return value;
  throw new Refused(status.INVALID_ARGUMENT, `"${name}" must be a string`);
}

function number(payload: unknown, name: string, most: number): number {
  const value = field(payload, name);
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new Refused(status.INVALID_ARGUMENT, `"${name}" must be a number from 1 to ${most}`);
}

function roomOf(payload: unknown): string {
  const room = text(payload, 'room');
  // What is no routing key is no room.
  if (Buffer.byteLength(room) <= 255 && !/\p{Cc}/u.test(room)) return room;
  throw new Refused(status.INVALID_ARGUMENT, '"room" must have at most 255 bytes, and no control characters');
}

const userOf = (session: Session__Output | null): string | undefined =>
  session?.auth && JSON.parse(session.auth).user;

const mayEnter = (user: string, room: string) => room !== 'staff' || user === 'adam';

const answer = (event: string, payload: object, rest: HandleActionResponse = {}): HandleActionResponse =>
  ({ events: [{ event, payload: JSON.stringify(payload) }], ...rest });

export class Chat {
  constructor(private readonly push: Push) {}

  async handleAction({ action, payload: json, session }: HandleActionRequest__Output): Promise<HandleActionResponse> {
    const payload: unknown = JSON.parse(json);
    if (action === 'Authenticate') return this.authenticate(text(payload, 'token'));
    const user = userOf(session);
    if (!user) throw new Refused(status.UNAUTHENTICATED, 'who are you?');
    switch (action) {
      case 'Join':
        return this.join(user, roomOf(payload));
      case 'Say': {
        const said = Number(session?.data.said ?? 0);
        return this.say(user, roomOf(payload), text(payload, 'text'), said + 1);
      }
      case 'Roll':
        return this.roll(number(payload, 'dice', MOST_DICE));
    }
    throw new Refused(status.UNIMPLEMENTED, 'no such action');
  }

  private authenticate(token: string): HandleActionResponse {
    const user = USERS.get(token);
    if (!user) {
      const details = JSON.stringify({ message: 'nobody has this token' });
      return { error: { code: 'InvalidToken', details } };
    }
    return answer('Authenticated', { user }, { sessionUpdate: { setAuth: JSON.stringify({ user }) } });
  }

  private join(user: string, room: string): HandleActionResponse {
    if (!mayEnter(user, room)) throw new Refused(status.PERMISSION_DENIED, 'not your room');
    const sessionUpdate = { setData: { room: JSON.stringify(room) } };
    return answer('Joined', { room }, { subscribe: [{ exchange: 'rooms', routingKey: room }], sessionUpdate });
  }

  private async say(user: string, room: string, text: string, number: number): Promise<HandleActionResponse> {
    if (!mayEnter(user, room)) throw new Refused(status.PERMISSION_DENIED, 'not your room');
    await this.push(room, 'Said', { user, text });
    return answer('Sent', { number }, { sessionUpdate: { setData: { said: String(number) } } });
  }

  private roll(count: number): HandleActionResponse {
    return answer('Rolled', { dice: Array.from({ length: count }, () => randomInt(1, 7)) });
  }

  checkSubscriptions({ session, topics }: CheckSubscriptionsRequest__Output): CheckSubscriptionsResponse {
    const user = userOf(session);
    const decisions = topics.map(({ exchange, routingKey }) => {
      if (exchange !== 'rooms') return 'DECISION_UNKNOWN_EXCHANGE';
      return user && mayEnter(user, routingKey) ? 'DECISION_ALLOW' : 'DECISION_DENY';
    });
    return { decisions };
  }

  sessionOpened(session: Session__Output | null): SessionOpenedResponse {
    if (session?.query === 'version=0') {
      const refusal = { code: 4500, reason: 'this version is too old' };
      return { decision: 'SESSION_DECISION_REFUSE', refusal };
    }
    const greeting = { event: 'Greeting', payload: JSON.stringify({ text: 'Who are you?' }) };
    return { decision: 'SESSION_DECISION_ACCEPT', events: [greeting] };
  }

  async sessionClosed(session: Session__Output | null) {
    const room = session?.data.room;
    if (room) await this.push(JSON.parse(room), 'Left', { user: userOf(session) });
    return {};
  }
}
