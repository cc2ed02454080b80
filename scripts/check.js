// `npm run check`: types, pure-core types, lint, format, unit tests and tidiness, side by side; prints what failed.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name) => `${root}node_modules/.bin/${name}`;
const steps = {
  types: [bin('tsc'), '-p', 'tsconfig.json'],
  'pure-core types': [bin('tsc'), '-p', 'tsconfig.pure.json'],
  lint: [
    bin('oxlint'),
    '--type-aware',
    '--deny-warnings',
    'src',
    'hypervisors',
    'modules',
    'test',
    'scripts',
    'bench',
  ],
  format: [bin('biome'), 'format', '.'],
  unit: [bin('mocha'), '--reporter', 'dot'],
  tidy: [bin('knip')],
};

/** Runs one command and resolves to its exit code and its output. */
function run([command, ...args]) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const output = [];
    child.stdout.on('data', (chunk) => output.push(chunk));
    child.stderr.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => resolve({ code: 1, output: String(error) }));
    child.on('close', (code) => resolve({ code, output: Buffer.concat(output).toString() }));
  });
}

const wanted = process.argv.slice(2);
const chosen = Object.entries(steps).filter(([name]) => wanted.length === 0 || wanted.includes(name));
let failed = 0;
await Promise.all(
  chosen.map(async ([name, command]) => {
    const startedMs = Date.now();
    const { code, output } = await run(command);
    const seconds = ((Date.now() - startedMs) / 1000).toFixed(1);
    if (code === 0) return console.log(`ok    ${name} (${seconds} s)`);
    failed += 1;
    console.log(`FAIL  ${name} (${seconds} s)\n${output}`);
  }),
);
process.exitCode = failed === 0 ? 0 : 1;
