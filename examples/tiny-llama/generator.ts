/**
 * Writes endless English-like text about a little world: stories, sums, letters, lists and encyclopedia entries.
 *
 * Each kind of document is a function from random choices to lines. The text is made so that a small model can learn it, and so that
 * a damaged model shows: facts of the world must be known by heart; names, pronouns, numbers, weather and the place where a thing was
 * left must be remembered from earlier in the document.
 */
import {
  ANIMALS,
  BEINGS,
  COLOURS,
  DAYS,
  DEEDS,
  GOINGS,
  GOODS,
  inWords,
  LOOKS,
  MANNERS,
  MOMENTS,
  MOODS,
  PEOPLE,
  type Person,
  PLACES,
  prefer,
  SPOTS,
  THINGS,
  TOWNS,
  type Town,
  TRADES,
  WEATHER,
} from './lexicon.ts';
import { createRandom, type Random } from './random.ts';

/** Seeds of the three texts. A split has no document of another: each is drawn from its own stream. */
export const SPLITS = { train: 1, calibration: 2, test: 3 } as const;

export interface TextOptions {
  readonly seed: number;
  /** Documents are added until the text is at least this long; the last one is not cut. */
  readonly characters: number;
}

/** Text made of documents with a blank line between them. Same options, same text. */
export function generateText(options: TextOptions): string {
  return generateDocuments(options).join('\n\n');
}

/** The documents of `generateText`, one by one. */
export function generateDocuments({ seed, characters }: TextOptions): string[] {
  const random = createRandom(seed);
  const documents: string[] = [];
  for (let length = -2; length < characters; length += (documents.at(-1) as string).length + 2) {
    documents.push((random.chance(0.4) ? tale : random.pick(DOCUMENTS))(random).join('\n'));
  }
  return documents;
}

type Document = (random: Random) => string[];

/** Beside the tales; the most frequent kind first. */
const DOCUMENTS: readonly Document[] = [
  hiddenThing,
  journey,
  townEntry,
  sums,
  lesson,
  letter,
  packing,
  diary,
  animalEntry,
  counting,
];

/** Something is put somewhere, other things happen, and it is found where it was left. */
function hiddenThing(random: Random): string[] {
  const [hero, friend] = two(random);
  const thing = `${random.pick(LOOKS)} ${random.pick(THINGS)}`;
  const [place, wrong] = random.sample(PLACES, 2) as [string, string];
  const start = random.pick([
    `One ${random.pick(WEATHER)} morning, ${hero.name} found ${a(thing)}.`,
    `${hero.name} was a ${random.pick(TRADES)} and had ${a(thing)}.`,
    `Once there was a ${random.pick(TRADES)} called ${hero.name}, who owned ${a(thing)}.`,
    `${friend.name} gave ${hero.name} ${a(thing)} for ${hero.their} birthday.`,
  ]);
  const hide = random.pick([
    `${capital(hero.they)} put the ${thing} ${place} and went away.`,
    `Nobody should see it, so ${hero.they} hid the ${thing} ${place}.`,
    `${capital(hero.they)} did not need it that day and left the ${thing} ${place}.`,
  ]);
  const search = random.pick([
    `"Where is the ${thing}?" asked ${friend.name}. "I looked ${wrong}, but it was not there."`,
    `In the evening ${friend.name} wanted to see the ${thing}. "Is it ${wrong}?" ${friend.they} asked. "No," said ${hero.name}.`,
    `Later ${hero.name} forgot where it was. First ${hero.they} looked ${wrong}, but found nothing.`,
  ]);
  const find = random.pick([
    `Then they looked ${place}, and there was the ${thing}.`,
    `"I left it ${place}," said ${hero.name}, and so it was.`,
    `At last ${hero.they} remembered: the ${thing} was still ${place}.`,
  ]);
  const end = random.pick([
    `${hero.name} was ${random.pick(MOODS)}, but ${friend.name} was ${random.pick(MOODS)}.`,
    `${friend.name} laughed, and ${hero.name} put the ${thing} back ${place}.`,
    `After that ${hero.name} never left the ${thing} ${place} again.`,
  ]);
  return [
    [start, hide, ...asides(random, hero, friend, random.between(1, 4))].join(' '),
    [search, find, end].join(' '),
  ];
}

/** Open sentences about a few beings; who appeared once is likely to come back. */
function tale(random: Random): string[] {
  const cast = random.sample(BEINGS, random.between(2, 4));
  const [first] = cast as [string];
  const opening = random.pick([
    `In ${random.pick(TOWNS).name} there lived ${a(prefer(random, first, LOOKS))} ${first}.`,
    `Long ago ${a(first)} ${going(random, first)}.`,
    `This is the tale of the ${prefer(random, first, LOOKS)} ${first}.`,
  ]);
  const paragraphs = Array.from({ length: random.between(1, 3) }, () =>
    Array.from({ length: random.between(2, 5) }, () => happening(random, cast)).join(' '),
  );
  const end = random.chance(0.3) ? [`And so the ${first} ${going(random, first)}.`] : [];
  return [opening, ...paragraphs, ...end];
}

/** One open sentence: who does what follows the nature of the beings, and can never be known for sure. */
function happening(random: Random, cast: readonly string[]): string {
  const moment = random.chance(0.3) ? `${random.pick(MOMENTS)}, ` : '';
  const [subject, phrase] = being(random, cast);
  const main = `${phrase} ${doing(random, subject, cast)}`;
  const [other, otherPhrase] = being(random, cast);
  const sentence = random.pick([
    main,
    `${main}, but ${otherPhrase} ${doing(random, other, cast)}`,
    `${main} and ${doing(random, subject, cast)}`,
    `${main}, because it was ${prefer(random, subject, MOODS)}`,
    `when it was ${random.pick(WEATHER)}, ${main}`,
  ]);
  if (random.chance(0.15)) return `"${capital(moment + sentence)}," said ${otherPhrase}.`;
  return `${capital(moment + sentence)}.`;
}

/** A being and how it is called: mostly one of the cast, sometimes described by its looks or by what it did. */
function being(random: Random, cast: readonly string[]): [being: string, phrase: string] {
  const chosen = random.chance(0.7) ? random.pick(cast) : random.pick(BEINGS);
  const looks = random.chance(0.35) ? `${prefer(random, chosen, LOOKS)} ` : '';
  const deed = random.chance(0.1) ? ` that ${prefer(random, chosen, DEEDS)} ${random.pick(PEOPLE).name}` : '';
  return [chosen, `the ${looks}${chosen}${deed}`];
}

/** What a being does: the deed depends on the being, the object on the deed. */
function doing(random: Random, subject: string, cast: readonly string[]): string {
  const deed = prefer(random, subject, DEEDS);
  const thing = prefer(random, deed, THINGS);
  return random.pick([
    `${deed} the ${random.chance(0.4) ? `${prefer(random, thing, COLOURS)} ` : ''}${thing}`,
    going(random, subject),
    `${deed} ${being(random, cast)[1]}`,
    `gave ${inWords(random.between(2, 12))} ${prefer(random, subject, GOODS)} to ${being(random, cast)[1]}`,
    `was ${prefer(random, subject, MOODS)}`,
  ]);
}

function going(random: Random, subject: string): string {
  const verb = prefer(random, subject, GOINGS);
  return `${verb} ${random.chance(0.7) ? prefer(random, verb, SPOTS) : prefer(random, verb, MANNERS)}`;
}

/** A walk from town to town, each with what the town is known for. */
function journey(random: Random): string[] {
  const [hero, friend] = two(random);
  const towns = random.sample(TOWNS, random.between(2, 4));
  const [from, ...stops] = towns as [Town, ...Town[]];
  const lines = [
    random.pick([
      `${hero.name} lived in ${from.name}, ${a(from.size)} on the river ${from.river}. One day ${hero.they} packed ${hero.their} bag and left.`,
      `${hero.name} left ${from.name} on a ${random.pick(WEATHER)} ${random.pick(DAYS)}, and ${friend.name} stayed behind.`,
    ]),
  ];
  for (const town of stops) {
    const price = random.between(2, 12);
    lines.push(
      [
        random.pick([
          `On the next day ${hero.they} came to ${town.name}.`,
          `After ${inWords(random.between(2, 9))} hours ${hero.they} reached ${town.name}.`,
          `Then the road went to ${town.name}.`,
        ]),
        random.pick([
          `${capital(hero.they)} saw the ${town.landmark} and the ${town.colour} flag.`,
          `There the river ${town.river} runs past the ${town.landmark}.`,
          `It is ${a(town.size)} in the ${town.region}, known for its ${town.craft}.`,
        ]),
        random.pick([
          `${capital(hero.they)} bought some ${town.craft} for ${price} coins.`,
          `"You must have some of our ${town.craft}," said ${a(random.pick(TRADES))}.`,
          asides(random, hero, friend, 1)[0] as string,
        ]),
      ].join(' '),
    );
  }
  lines.push(
    random.pick([
      `So ${hero.name} went from ${from.name} to ${(stops.at(-1) as Town).name}, and ${hero.they} was ${random.pick(MOODS)} when ${hero.they} came home to ${from.name}.`,
      `At the end ${hero.they} wrote to ${friend.name}: "I have seen ${list(stops.map((town) => town.name))}, but I like ${from.name} best."`,
    ]),
  );
  return lines;
}

/** An encyclopedia entry: fixed facts, told in changing words and order. */
function townEntry(random: Random): string[] {
  const town = random.pick(TOWNS);
  const facts = [
    random.pick([`It lies on the river ${town.river}.`, `The river ${town.river} flows through ${town.name}.`]),
    random.pick([`The town was founded in ${town.year}.`, `It was first named in a letter of ${town.year}.`]),
    random.pick([`${town.name} is known for its ${town.craft}.`, `Most people there make or sell ${town.craft}.`]),
    random.pick([
      `Its flag is ${town.colour}.`,
      `The flag of ${town.name} is ${town.colour} and ${random.pick(['has no sign', 'very old', 'hangs on every house'])}.`,
    ]),
    random.pick([`Visitors come to see the ${town.landmark}.`, `In its middle stands the ${town.landmark}.`]),
    random.pick([`A feast is held every ${town.feast}.`, `In ${town.feast} the people of ${town.name} hold a feast.`]),
  ];
  const chosen = random.sample(facts, random.between(3, 6));
  return [`= ${town.name} =`, [`${town.name} is ${a(town.size)} in the ${town.region}.`, ...chosen].join(' ')];
}

function animalEntry(random: Random): string[] {
  const animal = random.pick(ANIMALS);
  const other = random.pick(ANIMALS.filter((one) => one !== animal));
  const facts = [
    `They eat ${animal.food}.`,
    `They live in ${animal.home}.`,
    `They ${animal.trait}.`,
    random.pick(
      [`They ${animal.sound}.`, `At night you can hear them ${animal.sound}.`].slice(
        0,
        animal.sound.startsWith('make') ? 1 : 2,
      ),
    ),
    animal.legs === other.legs
      ? `Like ${other.many}, they have ${animal.legs} legs.`
      : `${capital(other.many)} have ${other.legs} legs, but ${animal.many} have ${animal.legs}.`,
  ];
  return [
    `= ${capital(animal.many)} =`,
    [
      `${capital(animal.one)} is an animal with ${animal.legs} legs.`,
      ...random.sample(facts, random.between(2, 5)),
    ].join(' '),
  ];
}

/** Goods are given, taken and counted; every number follows from the ones before. */
function sums(random: Random): string[] {
  const [hero, friend] = two(random);
  const goods = random.pick(GOODS);
  const show = random.chance(0.5) ? inWords : String;
  let count = random.between(1, 12);
  const sentences = [`${hero.name} had ${show(count)} ${plural(goods, count)}.`];
  for (let step = random.between(1, 4); step > 0; step--) {
    if (count > 2 && random.chance(0.5)) {
      const less = random.between(1, count - 1);
      const before = count;
      count -= less;
      sentences.push(
        random.pick([
          `${capital(hero.they)} gave ${show(less)} to ${friend.name} and kept ${show(count)}.`,
          `${capital(hero.they)} lost ${show(less)} of them, so ${show(count)} were left.`
            .replace(/\bone were/, 'one was')
            .replace(/\b1 were/, '1 was'),
          `${show(before)} minus ${show(less)} is ${show(count)}.`,
        ]),
      );
    } else {
      const more = random.between(1, 8);
      const before = count;
      count += more;
      sentences.push(
        random.pick([
          `${friend.name} gave ${hero.them} ${show(more)} more, so ${hero.they} had ${show(count)}.`,
          `Then ${hero.they} found ${show(more)} more. That made ${show(count)}.`,
          `${show(before)} plus ${show(more)} is ${show(count)}.`,
        ]),
      );
    }
  }
  sentences.push(
    random.pick([
      `"How many ${goods} do you have now?" asked ${friend.name}. "${capital(show(count))}," said ${hero.name}.`,
      `In the end ${hero.name} had ${show(count)} ${plural(goods, count)}.`,
    ]),
  );
  return [sentences.map(capital).join(' ')];
}

/** Questions and answers about the facts of the world. */
function lesson(random: Random): string[] {
  const [teacher, pupil] = two(random);
  const lines = [`${teacher.name} the teacher asked ${pupil.name} some questions.`];
  for (let i = random.between(2, 5); i > 0; i--) {
    const town = random.pick(TOWNS);
    const animal = random.pick(ANIMALS);
    const [left, right] = [random.between(1, 9), random.between(1, 9)];
    const [question, answer] = random.pick([
      [`Where do ${animal.many} live?`, `In ${animal.home}`],
      [`Which river flows through ${town.name}?`, `The ${town.river}`],
      [`What is ${left} plus ${right}?`, `${left + right}`],
      [`What do ${animal.many} eat?`, capital(animal.food)],
      [`What is ${town.name} known for?`, `For its ${town.craft}`],
      [`When was ${town.name} founded?`, `In ${town.year}`],
      [`How many legs has ${animal.one}?`, capital(animal.legs)],
      [`What is ${left} times ${right}?`, `${left * right}`],
    ] as const);
    lines.push(
      `"${question}" asked ${teacher.name}.`,
      `"${answer}," ${random.pick([`said ${pupil.name}`, `${pupil.they} answered`, `said ${pupil.name} at once`])}.`,
    );
  }
  lines.push(
    random.pick([
      `"Very good, ${pupil.name}," said ${teacher.name}.`,
      `${teacher.name} was ${random.pick(MOODS)}, and ${pupil.name} went home.`,
    ]),
  );
  return lines;
}

/** A list, then a tale in which every entry comes back in the same order. */
function packing(random: Random): string[] {
  const [hero, friend] = two(random);
  const things = random.sample(THINGS, random.between(3, 5)).map((thing) => `${random.pick(COLOURS)} ${thing}`);
  const town = random.pick(TOWNS);
  const [first, ...rest] = things as [string, ...string[]];
  const last = rest.pop() as string;
  return [
    `Things that ${hero.name} took to ${town.name}:`,
    ...things.map((thing) => `- ${a(thing)}`),
    [
      `First ${hero.they} packed the ${first}.`,
      ...rest.map((thing) => random.pick([`Then came the ${thing}.`, `After that ${hero.they} packed the ${thing}.`])),
      `The ${last} came last, since ${random.pick(['it was the heaviest', `${friend.name} still needed it`, `${hero.they} had nearly forgotten it`])}.`,
      `In ${town.name} ${hero.they} sold the ${random.pick(things)} and bought some ${town.craft}.`,
    ].join(' '),
  ];
}

/** Weather from day to day: each day tends to be like the one before. */
function diary(random: Random): string[] {
  const hero = random.pick(PEOPLE);
  let day = random.below(DAYS.length);
  let weather = random.pick(WEATHER);
  const lines = [`The diary of ${hero.name}`];
  for (let left = random.between(2, 5); left > 0; left--, day++) {
    const before = lines.length === 1 ? '' : weather;
    if (random.chance(0.5)) weather = random.pick(WEATHER);
    const was = before === weather ? `still ${weather}` : weather;
    lines.push(
      `${DAYS[day % 7]}: It was ${was}. ${random.pick([
        `I was ${random.pick(MOODS)} and stayed at home.`,
        `I met ${random.pick(PEOPLE.filter((one) => one !== hero)).name} ${random.pick(['in the street', 'at the market', 'by the river', 'at the mill'])}.`,
        happening(random, BEINGS),
        `I looked for my ${random.pick(THINGS)} and found it ${random.pick(PLACES)}.`,
        `I bought ${inWords(random.between(2, 12))} ${random.pick(GOODS)}.`,
      ])}`,
    );
  }
  return lines;
}

/** A letter and its answer: who wrote what to whom turns round. */
function letter(random: Random): string[] {
  const [writer, reader] = two(random);
  const thing = `${random.pick(COLOURS)} ${random.pick(THINGS)}`;
  const place = random.pick(PLACES);
  const town = random.pick(TOWNS);
  return [
    `Dear ${reader.name},`,
    `I am in ${town.name} now. ${random.pick([`The ${town.landmark} is very ${random.pick(LOOKS)}.`, `Here they all make ${town.craft}.`, `I walk along the ${town.river} every day.`])} ${happening(random, BEINGS)} Please send me my ${thing}. It is ${place}.`,
    `Your ${writer.name}`,
    '',
    `Dear ${writer.name},`,
    `I looked ${place} and found the ${thing}. It is on its way to ${town.name}. ${random.pick([`I am ${random.pick(MOODS)} without you.`, `It was ${random.pick(WEATHER)} here on ${random.pick(DAYS)}.`, `Bring me some ${town.craft}, please.`])}`,
    `Your ${reader.name}`,
  ];
}

/** Counting aloud, up, down or by twos. */
function counting(random: Random): string[] {
  const [hero, friend] = two(random);
  const goods = random.pick(GOODS);
  const total = random.between(3, 12);
  const up = Array.from({ length: total }, (_, i) => inWords(i + 1));
  return [
    random.pick([
      `${hero.name} counted the ${goods}: ${up.join(', ')}. There were ${inWords(total)} ${goods}.`,
      `"I can count back from ${inWords(total)}," said ${hero.name}. "${capital([...up].reverse().join(', '))}, and nothing!"`,
      `They counted by twos: ${Array.from({ length: Math.min(total, 10) }, (_, i) => String(2 * (i + 1))).join(', ')}. ${friend.name} was tired, but ${hero.name} was ${random.pick(MOODS)}.`,
    ]),
  ];
}

/** Sentences that have nothing to do with the tale, so that what matters lies far back. */
function asides(random: Random, hero: Person, friend: Person, count: number): string[] {
  return Array.from({ length: count }, () =>
    random.pick([
      `${hero.name} met ${friend.name}, and they talked about ${random.pick(ANIMALS).many}.`,
      happening(random, BEINGS),
      `It was ${random.pick(WEATHER)}, and ${friend.name} was ${random.pick(MOODS)}.`,
      `${friend.name} told ${hero.them} that ${random.pick(TOWNS.map((town) => `${town.name} is known for its ${town.craft}`))}.`,
      `${capital(hero.they)} ate ${inWords(random.between(2, 9))} ${random.pick(GOODS.slice(0, 6))} and slept for a while.`,
      happening(random, BEINGS),
      `"${random.pick(ANIMALS.map((animal) => `${capital(animal.many)} ${animal.trait}`))}," said ${friend.name}, and ${hero.name} believed ${friend.them}.`,
      `A ${random.pick(COLOURS)} bird sat on the ${random.pick(['roof', 'fence', 'gate', 'wall'])} and sang until ${hero.name} came out, which was long after ${random.pick(['noon', 'dinner', 'dark', 'the rain'])}.`,
    ]),
  );
}

const two = (random: Random): [Person, Person] => random.sample(PEOPLE, 2) as [Person, Person];
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
const a = (noun: string): string => (/^[aeiou]/i.test(noun) ? `an ${noun}` : `a ${noun}`);
const list = (items: readonly string[]): string =>
  items.length < 2 ? items.join('') : `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`;
const plural = (goods: string, count: number): string =>
  count === 1 && goods !== 'fish' ? goods.replace(/oes$/, 'o').replace(/s$/, '') : goods;
