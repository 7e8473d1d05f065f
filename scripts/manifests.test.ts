/** The manifests of docs/cluster: they parse, and what they run is what the command line takes. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';

const at = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));
const help = execFileSync(process.execPath, [at('packages/mobilequant/src/cli.ts'), 'evaluate', '--help'], {
  encoding: 'utf8',
});

/** Options that `mobilequant evaluate` is given in a text. */
function optionsIn(text: string): string[] {
  const [, given = ''] = /mobilequant evaluate ((?:\\\n|[^\n])*)/.exec(text) ?? [];
  return [...given.matchAll(/ (--[a-z-]+)/g)].map(([, option]) => option as string);
}

interface Job {
  kind: string;
  apiVersion: string;
  spec: {
    completionMode: string;
    completions: number;
    parallelism: number;
    template: {
      spec: {
        restartPolicy: string;
        containers: { args: string[]; volumeMounts: { name: string }[] }[];
        volumes: { name: string; persistentVolumeClaim: { claimName: string } }[];
      };
    };
  };
}

describe('kubernetes.yaml', () => {
  const documents = parseAllDocuments(readFileSync(at('docs/cluster/kubernetes.yaml'), 'utf8'));
  const [claim, job] = documents.map((document) => document.toJS()) as [{ metadata: { name: string } }, Job];

  test('is YAML without mistakes', () => {
    expect(documents.flatMap(({ errors, warnings }) => [...errors, ...warnings])).toEqual([]);
  });

  test('is an indexed job with as many shards as pods, on the volume that it claims', () => {
    expect(job).toMatchObject({ apiVersion: 'batch/v1', kind: 'Job', spec: { completionMode: 'Indexed' } });
    const { completions, parallelism, template } = job.spec;
    const [container] = template.spec.containers;
    expect(parallelism).toBe(completions);
    expect(container?.args[0]).toContain(`--shard "$JOB_COMPLETION_INDEX/${completions}"`);
    expect(['Never', 'OnFailure']).toContain(template.spec.restartPolicy);
    expect(template.spec.volumes.map(({ persistentVolumeClaim }) => persistentVolumeClaim.claimName)).toEqual([
      claim.metadata.name,
    ]);
    expect(container?.volumeMounts.map(({ name }) => name)).toEqual(template.spec.volumes.map(({ name }) => name));
  });

  test('runs a command with options that there are', () => {
    const options = optionsIn(job.spec.template.spec.containers[0]?.args[0] ?? '');
    expect(options).toHaveLength(6);
    for (const option of options) expect(help).toContain(` ${option} `);
  });
});

describe('slurm.sh', () => {
  const path = at('docs/cluster/slurm.sh');
  const text = readFileSync(path, 'utf8');

  test('is a script without mistakes', () => {
    expect(() => execFileSync('bash', ['-n', path])).not.toThrow();
  });

  test('runs a command with options that there are, for each task of an array', () => {
    const options = optionsIn(text);
    expect(options).toHaveLength(6);
    for (const option of options) expect(help).toContain(` ${option} `);
    expect(text).toMatch(/^#SBATCH --array=0-\d+$/m);
    expect(text).toContain('--shard "$shard/$SLURM_ARRAY_TASK_COUNT"');
  });
});
