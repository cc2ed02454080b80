/**
 * A first, full copy that is interrupted at some point goes on with what is left: it never begins anew, and what it left out is equal.
 * The disks are slow, so that the copy takes a while. Timing varies with the seeds of the simulation, not here.
 */
import { expect } from 'chai';
import { blockSizeBytes } from '../../src/disk/state.ts';
import type { World } from '../simulation/world.ts';
import { story } from './story.ts';

const mebibyte = 1024 * 1024;
const sizeBytes = 448 * mebibyte;
const options = { volumeSizesBytes: [sizeBytes], filledBytes: sizeBytes };
/** Longer than two checkpoints and the slow flushes before them. */
const firstPartMs = 11_000;

const copiedBytes = (world: World): number => world.a.mirror?.pairing.progress?.examinedBytes ?? 0;
const leftBytes = (world: World): number => (world.a.mirror?.replicas[0]?.bitmap.count ?? 0) * blockSizeBytes;

/** The first copy is under way for some time, and far from its end. The guest rests: what it writes would be examined again. */
function copyHalf(world: World): void {
  world.guestsRest = true;
  for (const { disks } of world.hosts) for (const disk of disks) disk.slowness = 300;
  world.firstStart();
  world.expect('the copy begins', () => copiedBytes(world) > 0, 60_000);
  world.run(firstPartMs);
  expect(world.a.mirror?.pairing.phase).to.equal('resync-source');
  expect(copiedBytes(world)).to.be.within(sizeBytes / 8, sizeBytes * 0.9);
}

/** It goes on with less than it began with, and there was one full copy only. */
function goesOn(world: World): void {
  world.expect('the copy is interrupted', () => world.a.mirror?.pairing.phase !== 'resync-source', 10_000);
  world.expect('the copy goes on', () => copiedBytes(world) > 0, 60_000);
  expect(world.a.mirror?.pairing.progress?.totalBytes).to.be.below(sizeBytes * 0.95);
  world.guestsRest = false;
  for (const { disks } of world.hosts) for (const disk of disks) disk.slowness = 1;
  world.expect('the pair is in sync', () => world.inSync(), 60_000);
  expect(world.checkers.fullCopies).to.equal(1);
  world.checkAtRest();
}

describe('a first full copy is interrupted', () => {
  it('by a blip of the link', () =>
    story(
      31,
      (world) => {
        copyHalf(world);
        world.link.blip();
        goesOn(world);
      },
      options,
    ));

  it('by a power loss of the target', () =>
    story(
      32,
      (world) => {
        copyHalf(world);
        world.b.losePower();
        world.run(2000);
        world.b.boot();
        goesOn(world);
      },
      options,
    ));

  it('by a crash of the module of the source', () =>
    story(
      33,
      (world) => {
        copyHalf(world);
        world.a.kill();
        goesOn(world);
      },
      options,
    ));

  it('by a power loss of the source', () =>
    story(
      34,
      (world) => {
        copyHalf(world);
        world.a.losePower();
        world.run(2000);
        world.a.boot();
        goesOn(world);
      },
      options,
    ));

  it('by a power loss of both', () =>
    story(
      35,
      (world) => {
        copyHalf(world);
        world.b.losePower();
        world.a.losePower();
        world.run(2000);
        world.b.boot();
        world.a.boot();
        goesOn(world);
      },
      options,
    ));

  it('again and again, before its first checkpoint too', () =>
    story(
      36,
      (world) => {
        for (const { disks } of world.hosts) for (const disk of disks) disk.slowness = 300;
        world.firstStart();
        for (let time = 0; time < 4; time += 1) {
          world.expect('the copy goes on', () => copiedBytes(world) > 0, 60_000);
          world.run(500 * time);
          if (time % 2 === 0) world.a.kill();
          else world.b.losePower();
          world.run(1500);
          if (time % 2 === 1) world.b.boot();
        }
        for (const { disks } of world.hosts) for (const disk of disks) disk.slowness = 1;
        world.expect('the pair is in sync', () => world.inSync(), 60_000);
        expect(world.checkers.fullCopies).to.equal(1);
        expect(leftBytes(world)).to.equal(0);
        world.checkAtRest();
      },
      options,
    ));
});
