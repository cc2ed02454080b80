/** Runs one story in a world of one seed; when it fails, the transcript tells what happened. */
import { World, type WorldOptions } from '../simulation/world.ts';

/** Lines of the transcript that are shown. */
const linesShown = 80;

export function story(seed: number, tell: (world: World) => void, options?: WorldOptions): void {
  const world = new World(seed, options);
  try {
    tell(world);
  } catch (error) {
    if (error instanceof Error) {
      error.message += `\n${world.transcript.slice(-linesShown).join('\n')}\n          ${world.describe()}`;
    }
    throw error;
  }
}
