// A program that obeys the process contract of a module (modules/README.md) and does nothing else: for tests of what
// stands around a module. It shares no code with the product. Clients of its NBD sockets get one line, "served by PID".
// Verbs for tests: `crash {code, words}`, `hang`. The text in MODULE.answers (JSON: verb -> result) is what other verbs answer.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parse } from 'yaml';

const { values } = parseArgs({ options: { config: { type: 'string' }, node: { type: 'string' } } });
const config = parse(readFileSync(values.config, 'utf8'));
const node = parse(readFileSync(values.node, 'utf8'));
const file = (suffix) => join(node.runtimeDir, `${config.module.name}.${suffix}`);

if (existsSync(file('unusable'))) {
  process.stderr.write('the stand-in was told to be unusable\n');
  process.exit(78);
}

for (const pair of process.env.VMPAIR_LISTEN_FDS.split(',')) {
  const [, fd] = pair.split('=');
  createServer((socket) => socket.end(`served by ${process.pid}\n`)).listen({ fd: Number(fd) });
}

const state = { role: 'secondary', run: 'stopped' };
const status = () => ({
  module: config.module.name,
  node: node.node,
  pid: process.pid,
  state: state.role === 'primary' ? 'PRIM' : 'SECOND',
  readiness: state.run === 'started' ? 'ready' : 'not-ready',
  because: 'it is a stand-in',
  axes: { ...state, data: 'up-to-date', link: state.run === 'started' ? 'in-sync' : 'down', vm: 'none' },
  networks: [],
  volumes: [],
});
const verbs = {
  ping: () => ({ pid: process.pid }),
  status,
  prim: () => Object.assign(state, { role: 'primary', run: 'started' }),
  start: () => Object.assign(state, { run: 'started' }),
  stop: () => Object.assign(state, { run: 'stopped' }),
  crash: ({ code, words }) => {
    process.stderr.write(words ?? '');
    process.exit(code);
  },
  hang: () => {
    for (;;);
  },
};

rmSync(file('control.sock'), { force: true });
createServer((socket) => {
  let text = '';
  socket.setEncoding('utf8').on('data', (part) => {
    text += part;
    const lines = text.split('\n');
    text = lines.pop();
    for (const line of lines) {
      const { id, verb, args } = JSON.parse(line);
      socket.write(`${JSON.stringify({ id, ok: true, result: verbs[verb](args ?? {}) })}\n`);
    }
  });
  socket.on('error', () => {});
}).listen(file('control.sock'), () => process.stdout.write('{"event":"stand-in-ready"}\n'));

process.on('SIGTERM', () => process.exit(0));
