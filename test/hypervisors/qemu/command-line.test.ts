import { expect } from 'chai';
import { parseYaml } from '../../../src/config/yaml-document.ts';
import { qemuArguments } from '../../../hypervisors/qemu/command-line.ts';
import { qemuVmSchema } from '../../../hypervisors/qemu/config.ts';
import { decideRunStatus, statusOf } from '../../../hypervisors/qemu/run-status.ts';

const attachments = [
  { volume: 'disk0', socketPath: '/run/a,b/disk0.sock', exportName: 'disk0' },
  { volume: 'disk1', socketPath: '/run/disk1.sock', exportName: 'data' },
];

function argumentsFor(config: object): string[] {
  return qemuArguments({
    config: qemuVmSchema.parse({ kind: 'qemu', memory: '512MiB', disks: [{ volume: 'disk0' }], ...config }),
    accelerator: 'tcg',
    mark: 'vmpair-vm1-0011',
    moduleMonitor: '/run/a,b/vm1.qmp.sock',
    supervisorMonitor: '/run/vm1.qmp-supervisor.sock',
    agentSocket: '/run/a,b/vm1.qga.sock',
    runtimeDirectory: '/run/a,b',
    attachments,
  });
}

/** Values of one option, in order. */
function valuesOf(name: string, list: readonly string[]): string[] {
  return list.filter((_, index) => list[index - 1] === name);
}

function problemOf(text: string): string {
  try {
    parseYaml('module.yaml', text, qemuVmSchema);
    return 'none';
  } catch (error) {
    return (error as Error).message;
  }
}

describe('command line of QEMU', () => {
  it('starts halted, carries the mark, and has a monitor each for module and supervisor', () => {
    const list = argumentsFor({});
    expect(list).to.include('-S');
    expect(valuesOf('-name', list)).to.deep.equal(['guest=vmpair-vm1-0011']);
    expect(valuesOf('-chardev', list)).to.deep.equal([
      'socket,id=monitor-module,path=/run/a,,b/vm1.qmp.sock,server=on,wait=off',
      'socket,id=monitor-supervisor,path=/run/vm1.qmp-supervisor.sock,server=on,wait=off',
    ]);
    expect(valuesOf('-m', list)).to.deep.equal(['512']);
    expect(valuesOf('-cpu', list)).to.deep.equal(['qemu64']);
  });

  it('every disk waits for its server, bypasses the cache of the host and stops the VM on errors', () => {
    const disks = [
      { volume: 'disk1', format: 'qcow2', bus: 'scsi' },
      { volume: 'disk0', bus: 'sata' },
    ];
    const list = argumentsFor({ disks });
    const nodes = valuesOf('-blockdev', list).map((text) => JSON.parse(text));
    expect(nodes[0]).to.deep.include({ driver: 'nbd', export: 'data', 'reconnect-delay': 30 });
    expect(nodes[1]).to.deep.include({ driver: 'qcow2', file: 'nbd0' });
    expect(nodes[2].server).to.deep.equal({ type: 'unix', path: '/run/a,b/disk0.sock' });
    expect(nodes[3]).to.deep.include({ driver: 'raw', file: 'nbd1' });
    for (const node of nodes) expect(node.cache).to.deep.equal({ direct: true });
    const devices = valuesOf('-device', list).filter((device) => device.includes('drive='));
    expect(devices).to.deep.equal([
      'scsi-hd,bus=scsi0.0,scsi-id=0,drive=disk0,werror=stop,rerror=stop',
      'ide-hd,bus=ide.1,drive=disk1,werror=stop,rerror=stop',
    ]);
    expect(list).to.include('virtio-scsi-pci,id=scsi0');
  });

  it('a disk that names no volume is refused with the volumes there are', () => {
    expect(() => argumentsFor({ disks: [{ volume: 'disk7' }] })).to.throw(/disk7.*disk0, disk1/);
  });

  it('kernel, serial line and further arguments are passed on', () => {
    const list = argumentsFor({
      kernel: '/boot/k',
      append: 'a=b c',
      serial: { file: 'out,1' },
      extraArgs: ['-usb'],
    });
    expect(valuesOf('-kernel', list)).to.deep.equal(['/boot/k']);
    expect(valuesOf('-append', list)).to.deep.equal(['a=b c']);
    expect(valuesOf('-chardev', list)[2]).to.equal('file,id=serial0,path=/run/a,,b/out,,1,append=on');
    expect(list.at(-1)).to.equal('-usb');
    const socket = argumentsFor({ serial: { socket: '/run/tty' } });
    expect(valuesOf('-chardev', socket)[2]).to.equal('socket,id=serial0,path=/run/tty,server=on,wait=off');
  });
});

describe('configuration of QEMU', () => {
  it('names path, wanted and found of what is wrong', () => {
    expect(problemOf('{kind: qemu, memory: 1GiB, disks: []}')).to.equal('none');
    expect(problemOf('{kind: qemu, memory: plenty, disks: []}')).to.match(
      /module\.yaml:1:\d+: memory: .*512MiB.*"plenty"/,
    );
    expect(problemOf('{kind: qemu, memory: 1GiB}')).to.match(/disks: a list; found nothing/);
    expect(problemOf('{kind: qemu, memory: 1GiB, disks: [{volume: a, bus: isa}]}')).to.match(
      /disks\[0\]\.bus/,
    );
    expect(problemOf('{kind: qemu, memory: 1GiB, disks: [{volume: a}, {volume: a}]}')).to.match(
      /each volume once/,
    );
    expect(problemOf('{kind: qemu, memory: 1GiB, disks: [], kernel: boot}')).to.match(
      /kernel: an absolute path/,
    );
    expect(problemOf('{kind: qemu, memory: 1GiB, disks: [], acelerator: kvm}')).to.match(
      /did you mean "accelerator"/,
    );
  });
});

describe('run status of QEMU', () => {
  it('becomes a state of the port, with the reason of a pause', () => {
    expect(decideRunStatus('running')).to.deep.equal({ state: 'running', pauseReason: undefined });
    expect(decideRunStatus('io-error')).to.deep.equal({ state: 'paused', pauseReason: 'io-error' });
    expect(decideRunStatus('prelaunch')).to.deep.equal({ state: 'paused', pauseReason: 'elsewhere' });
    expect(decideRunStatus('shutdown').state).to.equal('stopping');
    expect(decideRunStatus(undefined).state).to.equal('unknown');
    expect(statusOf({ status: 'paused' })).to.equal('paused');
    for (const reply of [undefined, null, 7, {}, { status: 1 }]) expect(statusOf(reply)).to.equal(undefined);
  });
});
