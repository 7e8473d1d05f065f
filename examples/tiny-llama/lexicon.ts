/**
 * The words and the unchanging facts of the little world that the generator writes about.
 * What stands here is the same in every text, so a model can learn it by heart; what a story makes up it must remember from its context.
 */
import { createRandom, type Random } from './random.ts';

export interface Person {
  readonly name: string;
  readonly they: 'she' | 'he';
  readonly them: 'her' | 'him';
  readonly their: 'her' | 'his';
}

export interface Town {
  readonly name: string;
  readonly size: string;
  readonly region: string;
  readonly river: string;
  readonly craft: string;
  readonly colour: string;
  readonly year: number;
  readonly landmark: string;
  readonly feast: string;
}

export interface Animal {
  readonly one: string;
  readonly many: string;
  readonly legs: string;
  readonly food: string;
  readonly home: string;
  readonly trait: string;
  readonly sound: string;
}

const words = (text: string): string[] => text.split(',').map((word) => word.trim());

const WOMEN = words('Ada, Mira, Clara, Ines, Nora, Tilda, Zoë, Ruth, Elsie, Hanna, Vera, Lucy, Maud, Olga');
const MEN = words('Tom, Jonas, Peter, Emil, Otto, Samuel, René, Hugo, Felix, Aron, Karl, Ned, Victor, Ivo');

export const PEOPLE: readonly Person[] = WOMEN.flatMap((woman, i) => [
  { name: woman, they: 'she', them: 'her', their: 'her' },
  { name: MEN[i] as string, they: 'he', them: 'him', their: 'his' },
]);

export const COLOURS: readonly string[] = words('red, blue, green, white, black, yellow, grey, brown, silver, purple');
export const RIVERS: readonly string[] = words('Ash, Lorn, Wend, Mirrow, Sable, Tay, Orrin, Kest');
export const DAYS: readonly string[] = words('Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday');
export const SEASONS: readonly string[] = words('spring, summer, autumn, winter');

const TOWN_NAMES = words(
  'Marle, Ostby, Quillham, Tarnwick, Elmstead, Brackton, Holloway, Vessin, Dunmoor, Pellworth, Sorrel, Greyford, Ambley, Kirren, Lowick, Norrland, Fenbridge, Wexcombe, Thornby, Ullin, Ashby, Birchley, Corvan, Eastmill, Hartwell, Ironby, Juniper, Langmoor, Osgate, Redwater, Stonham, Westerly',
);

/** The facts of the towns come from a fixed seed of their own. */
export const TOWNS: readonly Town[] = (() => {
  const random = createRandom(1789);
  const one = (list: readonly string[]): string => list[random.below(list.length)] as string;
  return TOWN_NAMES.map((name) => ({
    name,
    size: one(['small town', 'large town', 'village', 'port', 'market town', 'old city']),
    region: one(['north', 'south', 'east', 'west', 'hills', 'lowlands']),
    river: one(RIVERS),
    craft: one(
      words('clocks, bells, wool, honey, glass, cheese, boats, paper, lamps, kites, salt, violins, bread, maps'),
    ),
    colour: one(COLOURS),
    year: 1100 + random.below(78) * 10 + random.below(10),
    landmark: one(
      words('stone bridge, round tower, great mill, lighthouse, long wall, glass market, old harbour, stone church'),
    ),
    feast: one(SEASONS),
  }));
})();

// biome-ignore format: a table reads better with one animal a line
export const ANIMALS: readonly Animal[] = [
  { one: 'an owl', many: 'owls', legs: 'two', food: 'mice', home: 'old barns', trait: 'hunt at night', sound: 'hoot' },
  { one: 'a horse', many: 'horses', legs: 'four', food: 'hay', home: 'stables', trait: 'can run all day', sound: 'neigh' },
  { one: 'a bee', many: 'bees', legs: 'six', food: 'nectar', home: 'hives', trait: 'make honey', sound: 'hum' },
  { one: 'a spider', many: 'spiders', legs: 'eight', food: 'flies', home: 'webs', trait: 'wait without moving', sound: 'make no sound' },
  { one: 'a frog', many: 'frogs', legs: 'four', food: 'insects', home: 'ponds', trait: 'can jump very far', sound: 'croak' },
  { one: 'a sheep', many: 'sheep', legs: 'four', food: 'grass', home: 'the hills', trait: 'follow each other', sound: 'bleat' },
  { one: 'a duck', many: 'ducks', legs: 'two', food: 'bread and weeds', home: 'the reeds', trait: 'swim in a row', sound: 'quack' },
  { one: 'a fox', many: 'foxes', legs: 'four', food: 'hens', home: 'dens', trait: 'are clever and shy', sound: 'bark' },
  { one: 'an ant', many: 'ants', legs: 'six', food: 'seeds', home: 'the ground', trait: 'carry heavy things', sound: 'make no sound' },
  { one: 'a crow', many: 'crows', legs: 'two', food: 'almost anything', home: 'tall trees', trait: 'remember faces', sound: 'caw' },
  { one: 'a wolf', many: 'wolves', legs: 'four', food: 'deer', home: 'dark forests', trait: 'live in packs', sound: 'howl' },
  { one: 'a crab', many: 'crabs', legs: 'ten', food: 'small fish', home: 'the sea', trait: 'walk sideways', sound: 'make no sound' },
];

export const THINGS: readonly string[] = words(
  'key, lamp, coin, letter, book, ring, map, bell, knife, basket, drum, mirror, feather, box, cup, whistle, scarf, watch, candle, shell, button, rope, hammer, kite',
);

export const PLACES: readonly string[] = words(
  'under the bed, behind the clock, in the oven, on the shelf, inside the drum, under the stairs, in the well, behind the door, in the garden, on the roof, inside the piano, under a stone, in the cellar, between two books, in the old boat, beside the fire',
);

export const GOODS: readonly string[] = words(
  'apples, pears, eggs, nuts, plums, cakes, fish, stones, nails, books, candles, coins, buttons, potatoes, shells, pencils',
);
export const TRADES: readonly string[] = words(
  'baker, sailor, teacher, farmer, doctor, painter, miller, singer, smith, tailor, carpenter, clockmaker, fisher, writer',
);
export const MOODS: readonly string[] = words('happy, tired, sad, angry, curious, quiet, proud, afraid, hungry, cold');
export const LOOKS: readonly string[] = words(
  'old, small, big, broken, new, heavy, shiny, strange, beautiful, dusty, round, little, simple, wooden',
);
export const WEATHER: readonly string[] = words('sunny, cloudy, rainy, windy, foggy, stormy, snowy');

export const BEINGS: readonly string[] = words(
  'king, girl, boy, cat, dog, goat, thief, queen, giant, soldier, stranger, child, bear, rabbit, neighbour, ghost, mouse, goose, captain, witch, cook, judge, donkey, snake',
);
export const DEEDS: readonly string[] = words(
  'saw, heard, followed, wanted, loved, lost, carried, broke, washed, sold, stole, feared, forgot, watched, opened, cleaned, pushed, hated, kept, chased, painted, burned, caught, dropped',
);
export const GOINGS: readonly string[] = words(
  'walked, ran, slept, danced, waited, sang, fell, sat, cried, worked, hid, jumped, stood, turned, rested, laughed',
);
export const MANNERS: readonly string[] = words(
  'slowly, quietly, at once, for hours, without a word, every night, too often, loudly, in vain, with a smile, again, alone',
);
export const SPOTS: readonly string[] = words(
  'over the bridge, near the mill, through the forest, along the wall, behind the church, at the harbour, in the meadow, across the field, below the tower, into the cave, around the lake, by the road',
);

export const MOMENTS: readonly string[] = words(
  'in the evening, one day, after that, then, at night, soon, the next morning, that year, much later, suddenly',
);

/**
 * One of the list, as `key` prefers: a fox likes other deeds than a judge, a king sings in other places than a snake. Every key has an order of
 * the list of its own, the same in all texts, and the first ones of it are likely.
 */
export function prefer<T>(random: Random, key: string, list: readonly T[]): T {
  let orders = ORDERS.get(list);
  if (!orders) ORDERS.set(list, (orders = new Map()));
  let order = orders.get(key);
  if (!order) orders.set(key, (order = createRandom(hash(key)).sample(list, list.length)));
  return order[Math.floor(list.length * random.next() ** 3)] as T;
}

const ORDERS = new Map<readonly unknown[], Map<string, readonly unknown[]>>() as {
  get<T>(list: readonly T[]): Map<string, readonly T[]> | undefined;
  set<T>(list: readonly T[], orders: Map<string, readonly T[]>): unknown;
};

const hash = (text: string): number =>
  [...text].reduce((sum, character) => (Math.imul(sum, 31) + (character.codePointAt(0) as number)) | 0, 7);

const NUMBERS = words(
  'zero, one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, fourteen, fifteen, sixteen, seventeen, eighteen, nineteen, twenty',
);

/** English for 0 … 20; digits beyond. */
export const inWords = (value: number): string => NUMBERS[value] ?? String(value);
