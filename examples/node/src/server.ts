// Serves the chat over gRPC, and pushes for it.

import { createHash, timingSafeEqual } from 'node:crypto';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { Chat, type Push, Refused } from './chat.js';
import type { ProtoGrpcType as Handlers } from './stubs/action_handler.js';
import type { ProtoGrpcType as Gateways } from './stubs/gateway.js';
import type { ActionHandlerHandlers } from './stubs/myxi/v1/ActionHandler.js';

const PUSH_TIMEOUT_MS = 10_000; // The gateway answers within 5 s.
const GRACE_MS = 10_000; // For what is under way at a stop.
const PROTO = fileURLToPath(new URL('../../../proto', import.meta.url));

const files = ['myxi/v1/action_handler.proto', 'myxi/v1/gateway.proto'];
const definition = loadSync(files, { includeDirs: [PROTO], defaults: true, enums: String });
const { myxi } = grpc.loadPackageDefinition(definition) as unknown as Handlers & Gateways;

/** A call whose failure tells its client no more than it should: also not what the gateway said to us. */
function unary<Q, A>(answer: (request: Q) => A | Promise<A>): grpc.handleUnaryCall<Q, A> {
  return async (call, callback) => {
    try {
      callback(null, await answer(call.request));
    } catch (error) {
      if (error instanceof Refused) return callback({ code: error.code, details: error.message });
      console.error(error);
      callback({ code: grpc.status.UNKNOWN, details: 'see the log' });
    }
  };
}

const service = (chat: Chat): ActionHandlerHandlers => ({
  HandleAction: unary((request) => chat.handleAction(request)),
  CheckSubscriptions: unary((request) => chat.checkSubscriptions(request)),
  SessionOpened: unary(({ session }) => chat.sessionOpened(session)),
  SessionClosed: unary(({ session }) => chat.sessionClosed(session)),
});

function pushTo(gateway: InstanceType<typeof myxi.v1.Gateway>, token?: string): Push {
  const metadata = new grpc.Metadata();
  if (token) metadata.set('authorization', `Bearer ${token}`);
  return (room, event, payload) =>
    new Promise((resolve, reject) => {
      const request = { exchange: 'rooms', routingKey: room, event, payload: JSON.stringify(payload) };
      const deadline = Date.now() + PUSH_TIMEOUT_MS;
      gateway.pushEvent(request, metadata, { deadline }, (error) => (error ? reject(error) : resolve()));
    });
}

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Whoever can call this service speaks in the name of any user. */
const onlyWith = (token: string): grpc.ServerInterceptor => (_, call) =>
  new grpc.ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata(metadata, next) {
          const given = String(metadata.get('authorization')[0]);
          if (timingSafeEqual(digest(given), digest(`Bearer ${token}`))) return next(metadata);
          call.sendStatus({ code: grpc.status.UNAUTHENTICATED, details: 'wrong token' });
        },
      }),
  });

const { env } = process;
const address = env.LISTEN || '127.0.0.1:50051';
const gateway = new myxi.v1.Gateway(env.MYXI_GATEWAY || '127.0.0.1:5006', grpc.credentials.createInsecure(), {
  'grpc.enable_http_proxy': 0, // It is not behind a company's proxy, whatever `http_proxy` says.
});
const token = env.MYXI_ACTION_HANDLER_TOKEN;
const server = new grpc.Server({ interceptors: token ? [onlyWith(token)] : [] });
server.addService(myxi.v1.ActionHandler.service, service(new Chat(pushTo(gateway, env.MYXI_GRPC_TOKEN))));
// Who was killed has left its socket.
if (address.startsWith('unix:')) rmSync(address.slice('unix:'.length), { force: true });
server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error) throw error;
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => {
    server.tryShutdown(() => gateway.close()); // What else is open, as a pool of a database, is closed here.
    setTimeout(() => process.exit(1), GRACE_MS).unref();
  });
}
