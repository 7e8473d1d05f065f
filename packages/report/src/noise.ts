/** Signal to noise at every site, layer by layer. */
import { heatMap } from './heat-map.ts';
import { html } from './markup.ts';
import { decibels } from './numbers.ts';
import type { Noise, SiteValues } from './report-data.ts';
import type { Section } from './section.ts';

/** dB, of which an 8-bit grid has some 30 to 45, and 16 bits 48 more. */
const LIMITS = [15, 20, 25, 30, 35, 40, 60];

export function noise({ own, total }: Noise): Section {
  const map = {
    limits: LIMITS,
    costly: 'smallest',
    unit: 'dB',
    text: decibels,
    limit: String,
    none: 'no noise',
  } as const;
  const silent = own.filter((row) => !isNoisy(row));
  const content = html`<p>How loud the signal is against the noise of rounding, at each site and layer. Ten decibels less are ten times the noise; one bit more on a grid gains six.${silent.length > 0 && html` Without any noise, since they lay on their grids before: ${silent.map(({ site }) => site).join(', ')}.`}</p>
${heatMap({ ...map, id: 'own', rows: own.filter(isNoisy), caption: 'Signal to noise of what a site’s own rounding adds, in dB.' })}
${heatMap({ ...map, id: 'total', rows: total.filter(isNoisy), caption: 'Signal to noise of all that differs from the float model there, in dB: noise that came in with the input, too.' })}`;
  return { id: 'noise', title: 'Signal to noise', content };
}

/** Whether rounding does anything at a site: weights that lie on their grids stay as they are. */
export const isNoisy = ({ layers }: SiteValues): boolean => layers.some((value) => value !== null);
