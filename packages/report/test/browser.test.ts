/**
 * The page in a real browser: nothing wider than the screen, no rule of accessibility broken, every scrolling box reached by the keyboard,
 * nothing loaded, nothing run. Pictures go to the folder that MOBILEQUANT_SCREENSHOTS names, or to a temporary one.
 */
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { AxeResults } from 'axe-core';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reportPage } from '../src/index.ts';
import { HOSTILE, sampleReport } from './sample-report.ts';

const executablePath = process.env['MOBILEQUANT_CHROMIUM'];

const SCREENS = [
  { name: 'desktop-light', width: 1280, height: 900, colorScheme: 'light' },
  { name: 'phone-dark', width: 390, height: 844, colorScheme: 'dark' },
  { name: 'desktop-dark', width: 1280, height: 900, colorScheme: 'dark' },
  { name: 'phone-light', width: 390, height: 844, colorScheme: 'light' },
  { name: 'small-phone', width: 360, height: 640, colorScheme: 'light' },
] as const;

const AUDITED: readonly string[] = ['desktop-light', 'phone-dark']; // both palettes, both layouts
const SLOWLY = 300_000; // a browser on a busy machine

describe.skipIf(!executablePath)(
  'the page in Chromium (set MOBILEQUANT_CHROMIUM to its program)',
  { timeout: SLOWLY },
  () => {
    let browser: Browser;
    let folder = '';
    const files = { report: '', hostile: '' };

    beforeAll(async () => {
      const wanted = process.env['MOBILEQUANT_SCREENSHOTS'];
      folder = wanted
        ? resolve(process.env['INIT_CWD'] ?? '.', wanted)
        : await mkdtemp(join(tmpdir(), 'mobilequant-report-'));
      await mkdir(folder, { recursive: true });
      for (const [name, text] of [
        ['report', undefined],
        ['hostile', HOSTILE],
      ] as const) {
        files[name] = join(folder, `${name}.html`);
        await writeFile(files[name], reportPage(sampleReport(text)));
      }
      // Chromium's own sandbox needs rights that root in a container does not have.
      browser = await chromium.launch({ executablePath: executablePath as string, args: ['--no-sandbox'] });
    });

    afterAll(async () => {
      await browser?.close();
      console.log(`Screenshots: ${folder}`);
    });

    /** A page, all details open, and whatever it asked for beside itself or complained of. */
    async function opened(
      file: string,
      { width, height, colorScheme }: Omit<(typeof SCREENS)[number], 'name'>,
    ): Promise<{ context: BrowserContext; page: Page; asked: string[] }> {
      const context = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: false });
      const page = await context.newPage();
      const asked: string[] = [];
      page.on('request', (request) => asked.push(request.url()));
      page.on('pageerror', (error) => asked.push(error.message));
      page.on('dialog', (dialog) => {
        asked.push(dialog.message());
        void dialog.dismiss();
      });
      await page.goto(pathToFileURL(file).href);
      return { context, page, asked };
    }

    const openDetails = (page: Page) =>
      page.evaluate('for (const details of document.querySelectorAll("details")) details.open = true');

    /** axe runs in a world of its own: the page itself lets no script in. */
    async function violations(page: Page, context: BrowserContext): Promise<string[]> {
      const source = await readFile(createRequire(import.meta.url).resolve('axe-core'), 'utf8');
      const session = await context.newCDPSession(page);
      const { frameTree } = await session.send('Page.getFrameTree');
      const { executionContextId: contextId } = await session.send('Page.createIsolatedWorld', {
        frameId: frameTree.frame.id,
      });
      const run = `${source}; axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })`;
      const { result, exceptionDetails } = await session.send('Runtime.evaluate', {
        expression: run,
        contextId,
        awaitPromise: true,
        returnByValue: true,
      });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      const found = result.value as AxeResults;
      expect(found.passes.length).toBeGreaterThan(20); // else it did not look
      return found.violations.map(
        ({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(' ')).join('; ')}`,
      );
    }

    test.each(SCREENS)('fits and can be used by everyone: $name', async ({ name, ...screen }) => {
      const { context, page } = await opened(files.report, screen);
      await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
      await openDetails(page);
      const widths = await page.evaluate('[document.documentElement.scrollWidth, innerWidth]');
      expect(widths).toEqual([screen.width, screen.width]);
      // No text of a figure lies outside of the page, or on another one.
      expect(await page.evaluate(OVERLAPS)).toEqual([]);
      if (AUDITED.includes(name)) expect(await violations(page, context)).toEqual([]);
      await context.close();
    });

    test('the keyboard reaches the skip link first, every box that scrolls, and leaves again', async () => {
      const { context, page } = await opened(files.report, SCREENS[3]);
      await openDetails(page);
      const scrolls: number = await page.evaluate(
        `document.querySelectorAll('main a, main summary, main [tabindex="0"], nav a').length + 1`,
      );
      const seen: number[] = []; // places in the document; 1 and less are its root and body
      for (let i = 0; i < scrolls + 5; i++) {
        await page.keyboard.press('Tab');
        seen.push(
          await page.evaluate('[...document.querySelectorAll("html, body, body *")].indexOf(document.activeElement)'),
        );
        if (i === 0) expect(await page.evaluate('document.activeElement.className')).toBe('skip');
        if ((seen[i] as number) <= 1) break;
      }
      const stops = seen.filter((place) => place > 1);
      expect(stops).toEqual(stops.toSorted((a, b) => a - b)); // in the order in which the page is read
      expect(new Set(stops).size).toBe(scrolls);
      await context.close();
    });

    test('nothing is loaded and nothing runs, whatever is in the files', async () => {
      for (const screen of [SCREENS[0], SCREENS[4]]) {
        const { context, page, asked } = await opened(files.hostile, screen);
        expect(asked).toEqual([pathToFileURL(files.hostile).href]);
        await openDetails(page);
        const widths = await page.evaluate('[document.documentElement.scrollWidth, innerWidth]');
        expect(widths).toEqual([screen.width, screen.width]);
        await context.close();
      }
    });

    test('on paper', async () => {
      const { context, page } = await opened(files.report, SCREENS[0]);
      const pdf = await page.pdf({
        path: join(folder, 'report.pdf'),
        format: 'A4',
        margin: { top: '18mm', bottom: '18mm', left: '16mm', right: '16mm' },
      });
      expect(pdf.length).toBeGreaterThan(20_000);
      await context.close();
    });
  },
);

/** Pairs of texts inside one figure's SVG that lie on each other, and texts outside of the page. */
const OVERLAPS = `(() => {
  const found = [];
  for (const svg of document.querySelectorAll('.plot > svg, .heat > .axis')) {
    const texts = [...svg.querySelectorAll('text')].filter((text) => text.textContent.trim() !== '');
    const boxes = texts.map((text) => text.getBoundingClientRect());
    boxes.forEach((a, i) => {
      if (a.left < 0 || a.right > innerWidth) found.push('outside: ' + texts[i].textContent);
      boxes.slice(i + 1).forEach((b, j) => {
        const [x, y] = [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
        if (x > 1 && y > 3) found.push(texts[i].textContent + ' on ' + texts[i + 1 + j].textContent);
      });
    });
  }
  return found;
})()`;
