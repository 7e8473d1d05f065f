/** `pnpm bench NAME [arguments]`: one file a question. */
const BENCHES = ['engine', 'learn', 'large', 'results', 'fuzz', 'harness', 'shares'];

const name = process.argv[2] ?? '';
if (!BENCHES.includes(name)) {
  console.error(`bench: expected one of ${BENCHES.join(', ')}, got '${name}'.`);
  process.exit(2);
}
process.argv.splice(2, 1);
await import(`./${name}.ts`);
