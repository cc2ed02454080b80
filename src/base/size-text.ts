/** Amounts of bytes for people. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** For example `1.5 GiB`. */
export function sizeText(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}
