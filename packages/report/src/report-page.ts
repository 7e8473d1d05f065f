/**
 * The page: one HTML file that needs nothing else. No script runs in it and nothing is loaded; its policy forbids both, so that even text
 * which passed for markup could do nothing.
 */
import { cost } from './cost.ts';
import { learning } from './learning.ts';
import { html, trusted } from './markup.ts';
import { noise } from './noise.ts';
import { outliers } from './outliers.ts';
import { overrides } from './overrides.ts';
import { ranges } from './ranges.ts';
import type { ModelFacts, ReportData, Tuning } from './report-data.ts';
import { type Section, sectionMarkup } from './section.ts';
import { sensitivity } from './sensitivity.ts';
import { styleSheet } from './style-sheet.ts';
import { lead, summary } from './summary.ts';

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/** The whole page. Sections of what was not measured are left out. */
export function reportPage(data: ReportData): string {
  const [main] = data.models;
  const sections = sectionsOf(data);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${trusted(POLICY)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${main.name}: quantization report</title>
<style>${trusted(styleSheet())}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header><p class="kind">Quantization report</p>
<h1>${main.name}</h1>
<p class="lead">${lead(main)}</p>
<nav aria-label="Sections"><ul>${sections.map(({ id, title }) => html`<li><a href="#${id}">${title}</a></li>`)}</ul></nav></header>
<main id="main" tabindex="-1">
${sections.map(sectionMarkup)}</main>
<footer><h2>How it was made</h2><dl>${data.models.map(
    ({ name, recipe, method, options }) =>
      html`<div><dt>${name}</dt><dd>${recipe} by ${method}${options.map(([option, value]) => html`; ${option} ${value}`)}</dd></div>`,
  )}<div><dt>This page</dt><dd>${data.tool}. ${(data.conditions ?? []).join(' ')}</dd></div></dl></footer>
</body>
</html>
`;
  return page.markup;
}

function sectionsOf(data: ReportData): Section[] {
  const tuned = data.models.filter(
    (model): model is ModelFacts & { tuning: Tuning } => (model.tuning?.evaluations.length ?? 0) > 0,
  );
  return [
    summary(data),
    cost(data),
    data.divergences && sensitivity(data.divergences),
    data.noise && noise(data.noise),
    data.ranges && data.ranges.length > 0 && ranges(data.ranges),
    data.outliers && data.outliers.length > 0 && outliers(data.outliers),
    tuned.length > 0 && learning(tuned),
    data.overrides && data.overrides.length > 0 && overrides(data.overrides),
  ].filter((section) => typeof section === 'object');
}
