// The handler of ../README.md in JavaScript: @grpc/grpc-js, its stubs made at run time.

const path = require('node:path');
const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');

const grpc = require('@grpc/grpc-js');
const { loadSync } = require('@grpc/proto-loader');

const GRACE_MS = 100;
const proto = path.join(__dirname, '../../../proto');
const definition = loadSync('myxi/v1/action_handler.proto', { includeDirs: [proto], keepCase: true });
const { ActionHandler } = grpc.loadPackageDefinition(definition).myxi.v1;

const say = (what, about) => console.log(`${what} ${about}`);
const running = new Set();
let goOn;
const held = new Promise((resolve) => (goOn = resolve));

async function carryOut({ action, payload }) {
  if (action === 'Hold') await held;
  if (action === 'Wait') await sleep(1000 * Number(payload));
  say('finished', payload);
  const text = 'x'.repeat(action === 'Large' ? 4096 : 0);
  return { events: [{ event: 'Answer', payload: JSON.stringify(text) }] };
}

const handler = {
  HandleAction({ request }, answer) {
    say('began', request.payload);
    if (request.action === 'Throw') throw new Error('thrown by the handler');
    const action = carryOut(request);
    running.add(action);
    action.then((response) => {
      running.delete(action);
      answer(null, response);
    });
  },
  CheckSubscriptions({ request }, answer) {
    const allowed = request.session.id ? 'DECISION_ALLOW' : 'DECISION_DENY';
    answer(null, { decisions: request.topics.map(() => allowed) });
  },
};

const refuseOthers = (token) => (method, call) =>
  new grpc.ServerInterceptingCall(call, {
    start: (next) =>
      next({
        onReceiveMetadata(metadata, next) {
          if (metadata.get('authorization')[0] === `Bearer ${token}`) return next(metadata);
          call.sendStatus({ code: grpc.status.UNAUTHENTICATED, details: 'wrong token' });
        },
      }),
  });

const options = { interceptors: [] };
for (const argument of process.argv.slice(2)) {
  const [name, value] = argument.split('=');
  if (name === 'max-receive') options['grpc.max_receive_message_length'] = Number(value);
  else if (name === 'max-send') options['grpc.max_send_message_length'] = Number(value);
  else if (name === 'token') options.interceptors.push(refuseOthers(value));
  else throw new Error(`there is no option ${argument}`);
}

const server = new grpc.Server(options);
server.addService(ActionHandler.service, handler);
server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  say('port', port);
});
const input = readline.createInterface({ input: process.stdin });
input.on('line', (line) => {
  if (line === 'stop') {
    const force = setTimeout(() => server.forceShutdown(), GRACE_MS);
    server.tryShutdown(() => clearTimeout(force));
  }
  if (line === 'go on') input.close();
});
input.on('close', async () => {
  goOn();
  await Promise.all(running);
  process.exit();
});
