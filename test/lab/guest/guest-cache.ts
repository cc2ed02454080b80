/** Where tests keep the built guest between runs. */
import { join } from 'node:path';
import { packageRoot } from '../../../src/platform/program-path.ts';

export const guestCache: string = join(packageRoot, '.cache', 'guest');
