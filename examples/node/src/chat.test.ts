// The chat without a gateway: its calls are made directly, and what it pushes is caught.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { Chat } from './chat.js';

const session = (auth?: object, data = {}) => ({
  id: '', remoteAddress: '', path: '/', query: '', headers: {}, auth: auth && JSON.stringify(auth), data,
});
const action = (action: string, payload: object, by = session()) =>
  ({ action, payload: JSON.stringify(payload), session: by });

test('a token is worth a user', async () => {
  const chat = new Chat(async () => {});
  const answer = await chat.handleAction(action('Authenticate', { token: 'adam-secret' }));
  assert.deepEqual(JSON.parse(answer.sessionUpdate?.setAuth ?? ''), { user: 'adam' });
  const refused = await chat.handleAction(action('Authenticate', { token: 'x' }));
  assert.equal(refused.error?.code, 'InvalidToken');
});

test('what is said is pushed and counted', async () => {
  const pushed: unknown[] = [];
  const chat = new Chat(async (...event) => void pushed.push(event));
  const adam = session({ user: 'adam' }, { said: '4' });
  const answer = await chat.handleAction(action('Say', { room: 'lobby', text: 'hi' }, adam));
  assert.deepEqual(pushed, [['lobby', 'Said', { user: 'adam', text: 'hi' }]]);
  assert.deepEqual(answer.sessionUpdate?.setData, { said: '5' });
});

test('who leaves is missed', async () => {
  const pushed: unknown[] = [];
  const chat = new Chat(async (...event) => void pushed.push(event));
  await chat.sessionClosed(session({ user: 'adam' }, { room: '"lobby"' }));
  assert.deepEqual(pushed, [['lobby', 'Left', { user: 'adam' }]]);
});

test('eve is not staff', async () => {
  const chat = new Chat(async () => {});
  const eve = session({ user: 'eve' });
  await assert.rejects(chat.handleAction(action('Join', { room: 'staff' }, eve)), { code: status.PERMISSION_DENIED });
  const long = action('Join', { room: 'x'.repeat(256) }, eve);
  await assert.rejects(chat.handleAction(long), { code: status.INVALID_ARGUMENT });
  const topics = ['lobby', 'staff'].map((routingKey) => ({ exchange: 'rooms', routingKey }));
  const reason = 'CHECK_REASON_SUBSCRIBE';
  const { decisions } = chat.checkSubscriptions({ session: eve, topics, reason });
  assert.deepEqual(decisions, ['DECISION_ALLOW', 'DECISION_DENY']);
});
