/**
 * What the packages must never do (docs/architecture.md), as rules over the text of the repository.
 *
 * Everything here is a function of a map path → text, so a test can hand in a repository of five lines. Imports are found
 * by their form at the start of a line, which the formatter guarantees.
 */

/** Paths from the repository's root, with `/`, and their text: sources, tests, and every package.json. */
export type Files = ReadonlyMap<string, string>;

/** Which packages of the workspace the sources of a package may use. Others than these may use all. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  '@mobilequant/quantizer': [],
  '@mobilequant/graph': [],
  '@mobilequant/checkpoint': [],
  '@mobilequant/tracer': ['@mobilequant/graph'],
  '@mobilequant/core': ['@mobilequant/quantizer', '@mobilequant/tracer'],
  '@mobilequant/calibration': ['@mobilequant/core', '@mobilequant/quantizer', '@mobilequant/tracer'],
  '@mobilequant/exporter': ['@mobilequant/core', '@mobilequant/graph', '@mobilequant/quantizer', '@mobilequant/tracer'],
  '@mobilequant/evaluator': ['@mobilequant/core', '@mobilequant/tracer'],
  '@mobilequant/device': [],
  '@mobilequant/report': [],
};

/** Heavy or platform-bound modules, and the sources that may import them; tests may too. */
const EDGES: readonly { readonly module: RegExp; readonly only: RegExp }[] = [
  { module: /^(onnx-proto|protobufjs)(\/|$)/, only: /^packages\/graph\/src\/serde\.ts$/ },
  {
    module: /^onnxruntime-node(\/|$)/,
    only: /^(packages\/tracer\/src\/node\.ts|packages\/mobilequant\/.*|examples\/.*|bench\/.*)$/,
  },
  { module: /^onnxruntime-web(\/|$)/, only: /^packages\/tracer\/src\/web\.ts$/ },
  {
    module: /^@tensorflow\//,
    only: /^(packages\/(tracer|core|calibration|exporter|evaluator|mobilequant)|examples|bench)\//,
  },
];

/** What a browser does not have. */
const NODE_ONLY = /^(node:|onnxruntime-node$|@mobilequant\/\w+\/node$)/;

interface Manifest {
  readonly name: string;
  readonly sideEffects?: boolean;
  readonly exports?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

/** A package of the workspace: its folder (`packages/core`), manifest and TypeScript files. */
interface Package {
  readonly folder: string;
  readonly manifest: Manifest;
  readonly sources: readonly string[];
}

const isTest = (path: string): boolean => /\.(test|test-d)\.ts$|\/test\//.test(path);

/** Every breach of a rule, as `path: what it does. What to do.`; none is an empty list. */
export function layerViolations(files: Files): string[] {
  const packages = packagesOf(files);
  const rootManifest: Manifest = JSON.parse(files.get('package.json') ?? '{"name":""}');
  return packages.flatMap((owner) => [
    ...owner.sources.flatMap((path) =>
      importsOf(files.get(path) ?? '').flatMap((specifier) => [
        ...edgeViolations(path, specifier),
        ...arrowViolations(owner, path, specifier),
        ...declarationViolations(owner, rootManifest, path, specifier),
      ]),
    ),
    ...manifestViolations(owner),
    ...browserViolations(owner, files),
    ...sideEffectViolations(owner, files),
  ]);
}

/** The modules that a file imports or re-exports, statically or not, types included. */
export function importsOf(text: string): string[] {
  const forms = [
    /^(?:import|export)\s(?:[^'";]*?\sfrom\s)?'([^']+)'/gm,
    /^\} from '([^']+)'/gm,
    /\bimport\('([^']+)'\)/g,
  ];
  return [...new Set(forms.flatMap((form) => [...text.matchAll(form)].map((match) => match[1] as string)))];
}

function packagesOf(files: Files): Package[] {
  const paths = [...files.keys()];
  return paths
    .filter((path) => path.endsWith('/package.json'))
    .map((path) => {
      const folder = path.slice(0, -'/package.json'.length);
      const sources = paths.filter((source) => source.startsWith(`${folder}/`) && source.endsWith('.ts'));
      return { folder, manifest: JSON.parse(files.get(path) as string) as Manifest, sources };
    });
}

function edgeViolations(path: string, specifier: string): string[] {
  if (isTest(path)) return [];
  return EDGES.filter(({ module, only }) => module.test(specifier) && !only.test(path)).map(
    ({ only }) => `${path}: imports '${specifier}', which only ${only.source} may. Go through that.`,
  );
}

/** `@scope/name` or `name` of an import; nothing for relative paths and for Node's own modules. */
function packageName(specifier: string): string | undefined {
  if (/^(\.|node:|#)/.test(specifier)) return undefined;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

const inWorkspace = (name: string): boolean => name === 'mobilequant' || name.startsWith('@mobilequant/');

function arrowViolations({ manifest }: Package, path: string, specifier: string): string[] {
  const name = packageName(specifier);
  const allowed = ARROWS[manifest.name];
  if (!name || !allowed || isTest(path) || !inWorkspace(name) || name === manifest.name || allowed.includes(name))
    return [];
  return [`${path}: imports '${specifier}', to which no arrow of docs/architecture.md leads. Meet in a value instead.`];
}

function manifestViolations({ folder, manifest }: Package): string[] {
  const allowed = ARROWS[manifest.name];
  if (!allowed) return [];
  return Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })
    .filter((name) => inWorkspace(name) && !allowed.includes(name))
    .map(
      (name) =>
        `${folder}/package.json: depends on '${name}', to which no arrow of docs/architecture.md leads. Remove it.`,
    );
}

function declarationViolations(
  { folder, manifest }: Package,
  root: Manifest,
  path: string,
  specifier: string,
): string[] {
  const name = packageName(specifier);
  if (!name || name === manifest.name) return [];
  const declared = {
    ...manifest.dependencies,
    ...manifest.peerDependencies,
    ...(isTest(path) || !path.startsWith('packages/') ? { ...manifest.devDependencies, ...root.devDependencies } : {}),
  };
  return name in declared
    ? []
    : [`${path}: imports '${specifier}', which ${folder}/package.json does not declare. Add it there.`];
}

/** Files that a browser would load, from every entry but `./node`, must not need Node. The command line needs it. */
function browserViolations({ folder, manifest }: Package, files: Files): string[] {
  if (!(manifest.name in ARROWS)) return [];
  const entries = Object.entries(manifest.exports ?? {}).filter(([entry]) => entry !== './node');
  const reached = new Map(entries.map(([entry, path]) => [`${folder}/${path.slice(2)}`, entry]));
  const found: string[] = [];
  for (const [path, entry] of reached) {
    const text = files.get(path);
    if (text === undefined)
      found.push(`${folder}/package.json: '${entry}' needs ${path}, which is not there. Correct the path.`);
    for (const specifier of importsOf(text ?? '')) {
      if (NODE_ONLY.test(specifier)) {
        found.push(`${path}: imports '${specifier}', but '${entry}' must load in a browser. Move it behind './node'.`);
      }
      const next = relativePath(path, specifier);
      if (next && !reached.has(next)) reached.set(next, entry); // the loop goes on with it
    }
  }
  return found;
}

/** A bundler leaves out what is imported for its effect alone, such as registering kernels, if the package says it has none. */
function sideEffectViolations({ manifest, sources }: Package, files: Files): string[] {
  if (manifest.sideEffects !== false) return [];
  return sources
    .filter((path) => !isTest(path) && /^import '\./m.test(files.get(path) ?? ''))
    .map(
      (path) => `${path}: imports a file for its effect, but package.json has "sideEffects": false. Say true there.`,
    );
}

function relativePath(from: string, specifier: string): string | undefined {
  return specifier.startsWith('.') ? new URL(specifier, `file:///${from}`).pathname.slice(1) : undefined;
}
