// A program that starts and ends like the witness (one line when it listens, SIGTERM ends it) and does nothing else.
process.stdout.write('{"listening":{"host":"127.0.0.3","port":0}}\n');
process.on('SIGTERM', () => process.exit(0));
setInterval(() => {}, 60_000);
