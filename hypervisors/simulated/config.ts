/** The `vm` part of a module's configuration for the kind `simulated`. Reads nothing and starts nothing. */
import { z } from 'zod';
import { cpusSchema, memorySchema } from '../qemu/config.ts';

const recordsPerSecondMax = 1000;
const recordsPerSecondDefault = 20;

export const simulatedVmSchema = z.strictObject({
  kind: z.literal('simulated'),
  /** The volume that holds the journal; default: the first one. */
  volume: z.string().min(1).optional(),
  /** File of the guest's reports. A relative path counts from the run-time directory. */
  serial: z.strictObject({ file: z.string().min(1) }).optional(),
  /** What it says that it needs of its host; it takes less. */
  memory: memorySchema.optional(),
  cpus: cpusSchema,
  recordsPerSecond: z.number().min(1).max(recordsPerSecondMax).default(recordsPerSecondDefault),
});

export type SimulatedVmConfig = z.infer<typeof simulatedVmSchema>;
