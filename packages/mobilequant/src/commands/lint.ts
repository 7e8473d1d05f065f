/** `mobilequant lint`: what is wrong with an exported directory, before anything slow is run. */
import { type Finding, lintRules } from '@mobilequant/exporter';
import { type Command, command, pathFrom } from '../command.ts';
import { type LintedGraph, lintDirectory } from '../lint-directory.ts';
import { choice, flag } from '../options.ts';

const SHOWN = 3; // places of a rule; layers repeat each other

/** An exported directory breaks rules that must hold. */
class LintError extends Error {
  override readonly name = 'LintError';
}

const options = {
  device: choice(
    ['npu', 'processor'],
    'what will run the graphs (default: an NPU for prefill, decode, and where there are encodings, else a processor)',
    undefined,
  ),
  all: flag(`show every place (default: ${SHOWN} of each rule)`),
  json: flag('print the result as one JSON object'),
};

const notes = `DIR is what export wrote, for any target. Weights are not read, so large models take seconds. The status is 1 where there is an error, and 0 where there are
warnings only. Rules, each with what happens where it is broken:

${lintRules.map(({ name, severity, description }) => `  ${name} (${severity}): ${description}`).join('\n')}`;

export const lint: Command = command({
  name: 'lint',
  summary: 'check an exported directory by the rules of its device',
  positionals: ['DIR'],
  options,
  notes,
  async run({ device, all, json }, [from], surroundings) {
    const directory = pathFrom(surroundings, from as string);
    const graphs = await lintDirectory(directory, device);
    const errors = graphs.flatMap(({ findings }) => findings).filter(({ severity }) => severity === 'error').length;
    surroundings.print(
      json ? JSON.stringify({ directory, errors, graphs }) : graphs.map((graph) => told(graph, all)).join('\n'),
    );
    if (errors > 0)
      throw new LintError(
        `${directory}: expected no errors, got ${errors}. A device will not run it as it was measured.`,
      );
  },
});

function told({ file, device, findings }: LintedGraph, all: boolean): string {
  if (findings.length === 0) return `${file} (${device}): nothing found`;
  const rules = [...new Set(findings.map(({ rule }) => rule))].map((rule) =>
    findings.filter((one) => one.rule === rule),
  );
  const errors = rules.filter(([first]) => first?.severity === 'error');
  const warnings = rules.filter(([first]) => first?.severity === 'warning');
  return [
    `${file} (${device}): ${counted(errors, 'error')}, ${counted(warnings, 'warning')}`,
    ...[...errors, ...warnings].flatMap((group) => toldRule(group, all)),
  ].join('\n');
}

const counted = (groups: readonly Finding[][], what: string): string => {
  const count = groups.flat().length;
  return `${count} ${what}${count === 1 ? '' : 's'}`;
};

function toldRule(findings: readonly Finding[], all: boolean): string[] {
  const [{ rule, severity }] = findings as [Finding];
  const description = lintRules.find(({ name }) => name === rule)?.description;
  const shown = all ? findings : findings.slice(0, SHOWN);
  const more = findings.length - shown.length;
  return [
    `  ${severity} ${rule}${description ? `: ${description}` : ''}`,
    ...shown.map(({ where, found, advice }) => `    ${where}: ${found}. ${advice}`),
    ...(more > 0 ? [`    … and ${more} more (--all)`] : []),
  ];
}
