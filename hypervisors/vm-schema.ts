/** Every kind of VM that the `vm` of a `module.yaml` can name. Starts nothing, so that a configuration is checked without adapters. */
import { z } from 'zod';
import { qemuVmSchema } from './qemu/config.ts';
import { simulatedVmSchema } from './simulated/config.ts';

export const vmSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('none') }),
  qemuVmSchema,
  simulatedVmSchema,
]);
