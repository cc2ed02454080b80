import { expect } from 'chai';
import { mkdirSync, writeFileSync } from 'node:fs';
import { decideLoadOrder, findGuestKernel } from '../../../src/lab/guest/kernel-modules.ts';
import { makeTempDirectory } from '../../temp-directory.ts';

const dependencies = `kernel/virtio.ko.xz: kernel/virtio_ring.ko.xz
kernel/virtio_ring.ko.xz:
kernel/virtio-pci.ko.xz: kernel/legacy.ko.xz kernel/virtio.ko.xz kernel/virtio_ring.ko.xz
kernel/legacy.ko.xz:
`;

describe('kernel modules of the guest', () => {
  it('each is loaded once, after what it needs; what is built in needs no file', () => {
    expect(
      decideLoadOrder(dependencies, 'kernel/fs/ext4/ext4.ko\n', ['virtio', 'ext4', 'virtio_pci'], ['rng']),
    ).to.deep.equal([
      'kernel/virtio_ring.ko.xz',
      'kernel/virtio.ko.xz',
      'kernel/legacy.ko.xz',
      'kernel/virtio-pci.ko.xz',
    ]);
  });

  it('one that the kernel does not have is named', () => {
    expect(() => decideLoadOrder(dependencies, '', ['virtio_blk'])).to.throw(/virtio_blk/);
  });

  it('the newest kernel that has modules is taken', () => {
    const directory = makeTempDirectory();
    try {
      for (const version of ['6.1.0-9', '6.1.0-10', '6.1.0-11'])
        writeFileSync(directory.file(`vmlinuz-${version}`), '');
      for (const version of ['6.1.0-9', '6.1.0-10']) mkdirSync(directory.file(version));
      expect(findGuestKernel(directory.path, directory.path).version).to.equal('6.1.0-10');
      expect(() => findGuestKernel(directory.path, directory.file('6.1.0-9'))).to.throw(/file-missing/);
    } finally {
      directory.remove();
    }
  });
});
