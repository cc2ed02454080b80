/**
 * Sentences and next steps name commands as `vmpair COMMAND VM`, because the deciding code knows no names of VMs. Where the name is
 * known, on the way to people, it takes the place of the word.
 */
const commandOnVm = /(`vmpair [a-z-]+(?: [a-z-]+)?) VM(?=[ `])/g;

export function withVmName(text: string, name: string): string {
  return text.replaceAll(commandOnVm, `$1 ${name}`);
}
