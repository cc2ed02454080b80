/**
 * `/init` of the lab guest, for the shell of a static busybox: loads drivers, mounts the disk, verifies the journal,
 * then appends one record after the other.
 *
 * Nothing in the loop forks: under TCG a process costs more than a record. So records are written by a builtin to a file
 * system mounted `sync`, where `write` returns only after the data, the file size and a flush of the disk
 * (ext4 does an fsync within each write); the pause is a `read` with a time-out.
 *
 * A record is one line of 128 bytes: `R`, its number, nine numbers that follow from it, a checksum over those ten and
 * filler. Numbers are padded with blanks, because awk reads a leading zero as octal. `guest-report.ts` describes what is
 * reported. The power button ends the loop: sync, unmount, power off.
 */

/** Bytes of a record with its end of line. */
export const recordBytes = 128;
/** Modulus of the checksum: prime, so small that products with the factor are exact in awk's doubles. */
const modulus = 2147483629;
const factor = 65599;

/** Between two records, seconds, unless the kernel command line sets `JOURNAL_PAUSE=SECONDS`. */
const defaultPauseSeconds = 0.03;

/** `moduleFiles`: files below `/modules`, in the order to load them. */
export function initScript(moduleFiles: readonly string[]): string {
  return `#!/bin/sh
/bin/busybox mount -t proc proc /proc
export PATH=/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
say() { read -r now rest </proc/uptime; echo "$now $*"; }
# Power off, not halt: the host waits for the end of the VM.
fail() { say "$*"; sync; sleep 1; poweroff -f; }
say BOOT
for module in ${moduleFiles.join(' ')}; do insmod /modules/$module || say "NOMODULE $module"; done

mkfifo /never
exec 4<>/never
tries=0
while [ ! -b /dev/vda ]; do
  read -r -t 0.02 nothing <&4
  tries=$((tries+1))
  [ $tries -lt 500 ] || fail "VERIFY FAIL no disk"
done
mount -t ext4 -o sync,noatime,noinit_itable /dev/vda /data || fail "VERIFY FAIL mount"

[ -f /data/journal ] || : >/data/journal
set -- $(awk 'BEGIN { modulus = ${modulus} }
  bad { exit }
  length($0) != ${recordBytes - 1} || NF != 13 || $1 != "R" { bad = NR; next }
  {
    sum = 0
    for (i = 2; i <= 11; i++) sum = (sum * ${factor} + $i) % modulus
    if (sum != $12) { wrong = "checksum"; bad = NR; exit }
    if ($2 != last + 1) { wrong = "sequence"; bad = NR; exit }
    last = $2; good = NR
  }
  END {
    if (wrong == "" && bad && bad != NR) wrong = "shape"
    if (wrong != "") print "FAIL " wrong " at record " bad; else print "OK", last + 0, good + 0
  }' /data/journal)
[ "$1" = OK ] || { say "VERIFY $*"; exec sleep 2147483647; }
seq=$2
set -- $3 $(stat -c %s /data/journal)
tail=$(($2-$1*${recordBytes}))
say "VERIFY OK last=$seq records=$1 tail=$tail"
[ $tail = 0 ] || truncate -s $(($1*${recordBytes})) /data/journal

stop=
trap 'stop=1' TERM
cd /sys/class/input
for input in event*; do
  read -r name <$input/device/name
  [ "$name" != "Power Button" ] || (dd if=/dev/input/$input bs=24 count=1 >/dev/null 2>&1; kill -TERM 1) &
done
cd /

[ -n "$JOURNAL_PAUSE" ] || JOURNAL_PAUSE=${defaultPauseSeconds}
exec 3>>/data/journal
say START
while [ -z "$stop" ]; do
  seq=$((seq+1))
  sum=$seq; value=$((seq*7919%${modulus})); values=
  for i in 1 2 3 4 5 6 7 8 9; do
    value=$(((value*${factor}+i)%${modulus}))
    sum=$(((sum*${factor}+value)%${modulus}))
    values="$values $value"
  done
  if printf 'R %11d %10d %10d %10d %10d %10d %10d %10d %10d %10d %10d 000\\n' $seq $values $sum >&3; then
    say "ACK $seq"
  else
    say "IOERR $seq"
    exec sleep 2147483647
  fi
  read -r -t $JOURNAL_PAUSE nothing <&4
done
say "STOPPING $seq"
exec 3>&-
sync
umount /data || mount -o remount,ro /data
say POWEROFF
poweroff -f
`;
}
