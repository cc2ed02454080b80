/** How each kind of check is asked: about the host through the operating system, about the VM through its hypervisor. */
import type { Hypervisor } from '../../hypervisors/port.ts';
import { assertNever } from '../../src/base/assert.ts';
import type { CheckResult } from '../../src/checks/check-watch.ts';
import type { AskCheck } from '../../src/checks/probing.ts';
import type { CheckSettings } from '../../src/checks/settings.ts';
import {
  probeDiskSpace,
  probeNetworkLink,
  probePing,
  probeProgram,
  probeTcp,
  within,
} from '../../src/platform/host-probes.ts';

interface ProbePlace {
  readonly node: string;
  readonly module: string;
}

export function checkProbes(hypervisor: Hypervisor | undefined, place: ProbePlace): AskCheck {
  return (check, done) => void probe(check, hypervisor, place).then(done);
}

function probe(
  check: CheckSettings,
  hypervisor: Hypervisor | undefined,
  { node, module }: ProbePlace,
): Promise<CheckResult> {
  const { timeoutMs } = check;
  switch (check.kind) {
    case 'tcp':
      return probeTcp(check.host, check.port, timeoutMs);
    case 'ping':
      return probePing(check.host, timeoutMs);
    case 'disk-space':
      return probeDiskSpace(check.path[node] ?? '', check.minFreeBytes, timeoutMs);
    case 'network-link':
      return probeNetworkLink(check.interface[node] ?? '', timeoutMs);
    case 'command': {
      const env = { VMPAIR_NODE: node, VMPAIR_MODULE: module, VMPAIR_CHECK: check.name };
      return probeProgram(check.command, timeoutMs, env);
    }
    case 'hypervisor':
      return within(timeoutMs, 'the hypervisor', askHypervisor(hypervisor, timeoutMs));
    case 'guest':
      return within(timeoutMs, 'the guest', askGuest(hypervisor, timeoutMs));
    case 'vm':
      return Promise.resolve({ ok: true, because: 'its state is told, not asked for' });
    default:
      return assertNever(check, 'kind of a check');
  }
}

async function askHypervisor(hypervisor: Hypervisor | undefined, timeoutMs: number): Promise<CheckResult> {
  if (hypervisor === undefined) return { ok: true, because: 'there is no VM' };
  const { usable, because } = await hypervisor.health({ timeoutMs });
  return { ok: usable, because };
}

async function askGuest(hypervisor: Hypervisor | undefined, timeoutMs: number): Promise<CheckResult> {
  const pulse = hypervisor?.capabilities.guestPulse;
  if (pulse === undefined) return { ok: true, because: 'this hypervisor cannot ask the guest' };
  const { alive, because } = await pulse({ timeoutMs });
  return { ok: alive, because };
}
