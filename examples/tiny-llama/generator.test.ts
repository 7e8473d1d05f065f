import { describe, expect, it } from 'vitest';
import { generateDocuments, generateText, SPLITS } from './generator.ts';
import { TOWNS } from './lexicon.ts';

describe('generateText', () => {
  const text = generateText({ seed: 11, characters: 100_000 });

  it('gives the same text for the same seed and another for another', () => {
    expect(generateText({ seed: 11, characters: 100_000 })).toBe(text);
    expect(generateText({ seed: 12, characters: 100_000 })).not.toBe(text);
  });

  it('is as long as asked for, plus at most one document, and a longer text begins with a shorter one', () => {
    expect(text.length).toBeGreaterThanOrEqual(100_000);
    expect(text.length).toBeLessThan(102_000);
    expect(text.startsWith(generateText({ seed: 11, characters: 5000 }))).toBe(true);
  });

  it('has no holes where a word should be', () => {
    expect(text).not.toMatch(/undefined|NaN|\[object| {2}| [.,!?]|\ba [aeiou]|\ban [^aeiou]/);
  });

  it('adds and subtracts right', () => {
    const sums = [...text.matchAll(/(\d+) (plus|minus) (\d+) is (\d+)/g)];
    expect(sums.length).toBeGreaterThan(5);
    for (const [, left, sign, right, result] of sums) {
      expect(Number(result)).toBe(sign === 'plus' ? Number(left) + Number(right) : Number(left) - Number(right));
    }
  });

  it('tells the same facts about a town everywhere', () => {
    const told = [...text.matchAll(/(\w+) is known for its (\w+)/g)];
    expect(told.length).toBeGreaterThan(8);
    for (const [, name, craft] of told) expect(TOWNS.find((town) => town.name === name)?.craft ?? craft).toBe(craft);
  });

  it('finds a hidden thing where it was left', () => {
    const stories = generateDocuments({ seed: 11, characters: 100_000 }).filter((document) =>
      document.includes('there was the'),
    );
    expect(stories.length).toBeGreaterThan(5);
    for (const story of stories) {
      const [, place, thing] = /looked ([a-z ]+), and there was the ([a-z ]+)\./.exec(story) as unknown as [
        string,
        string,
        string,
      ];
      const [start] = story.split('\n') as [string];
      expect(start).toContain(`the ${thing} ${place}`);
    }
  });

  it('draws every split from a stream of its own', () => {
    const [train, calibration, test] = Object.values(SPLITS).map(
      (seed) => new Set(generateDocuments({ seed, characters: 100_000 })),
    );
    const shared = [...(test as Set<string>)].filter(
      (document) => (train as Set<string>).has(document) || (calibration as Set<string>).has(document),
    );
    expect(shared.length / (test as Set<string>).size).toBeLessThan(0.1);
  });
});
