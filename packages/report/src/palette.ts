/**
 * The page's colours, for light and for dark surroundings. Text has a contrast of 4.5 against the paper and marks one of 3, which a test
 * computes; nothing is said by colour alone.
 */

export interface Palette {
  readonly paper: string;
  /** Behind code and beside bars. */
  readonly shade: string;
  readonly ink: string;
  readonly muted: string;
  readonly rule: string;
  /** What the page is about, and links. */
  readonly first: string;
  readonly second: string;
  readonly third: string;
  /** Of what was before. */
  readonly past: string;
  /** From harmless to costly. */
  readonly heat: readonly string[];
}

export const LIGHT: Palette = {
  paper: '#fdfcfa',
  shade: '#f3f0ea',
  ink: '#24221f',
  muted: '#655f57',
  rule: '#ddd8cf',
  first: '#1d5c88',
  second: '#ad4a12',
  third: '#5d6b1f',
  past: '#8b857b',
  heat: ['#f0ece4', '#f6ddc3', '#f2c497', '#eaa56b', '#db8245', '#c25d28', '#9c3d17', '#6b240e'],
};

export const DARK: Palette = {
  paper: '#171614',
  shade: '#23211e',
  ink: '#ebe7e0',
  muted: '#aaa398',
  rule: '#3d3934',
  first: '#83bbe4',
  second: '#f0a06a',
  third: '#b7c86a',
  past: '#8f897f',
  heat: ['#2a2724', '#40302a', '#59392b', '#76462d', '#975830', '#bb6f38', '#dd9052', '#ffbe8c'],
};

/** As custom properties: `--ink`, `--heat-3`. */
export const customProperties = ({ heat, ...colours }: Palette): string =>
  [...Object.entries(colours), ...heat.map((colour, i) => [`heat-${i}`, colour])]
    .map(([name, colour]) => `--${name}:${colour}`)
    .join(';');
