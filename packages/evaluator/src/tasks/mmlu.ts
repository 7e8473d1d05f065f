/** MMLU: questions of 57 subjects, each a task of its own, counted together by field and all in all. */
import { strip } from './python-text.ts';
import type { ChoiceTask, TaskGroup } from './task.ts';

const FIELDS = {
  stem: `abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science college_mathematics
    college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics high_school_biology
    high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics high_school_statistics
    machine_learning`,
  other: `business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing medical_genetics
    miscellaneous nutrition professional_accounting professional_medicine virology`,
  social_sciences: `econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
    high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations security_studies
    sociology us_foreign_policy`,
  humanities: `formal_logic high_school_european_history high_school_us_history high_school_world_history international_law
    jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law world_religions`,
};

const subjectsOf = (field: string): string[] => field.trim().split(/\s+/);

const taskOf = (subject: string): ChoiceTask => ({
  kind: 'choice',
  name: `mmlu_${subject}`,
  version: 1,
  files: ['mmlu/test.jsonl'],
  hub: { dataset: 'cais/mmlu', config: 'all' },
  where: { subject },
  shots: { files: ['mmlu/dev.jsonl'], order: 'first' },
  description: `The following are multiple choice questions (with answers) about ${subject.replaceAll('_', ' ')}.\n\n`,
  prepare: (item) => ({ ...item, question: strip(String(item.question)) }),
  prompt: '{question}\nA. {choices.0}\nB. {choices.1}\nC. {choices.2}\nD. {choices.3}\nAnswer:',
  choices: ['A', 'B', 'C', 'D'],
  gold: 'answer',
  metrics: ['acc'],
});

export const mmluTasks: readonly ChoiceTask[] = Object.values(FIELDS).flatMap(subjectsOf).sort().map(taskOf);

const fields: readonly TaskGroup[] = Object.entries(FIELDS).map(([field, subjects]) => ({
  name: `mmlu_${field}`,
  tasks: subjectsOf(subjects).map((subject) => `mmlu_${subject}`),
  metrics: ['acc'],
}));

export const mmluGroups: readonly TaskGroup[] = [
  ...fields,
  { name: 'mmlu', tasks: mmluTasks.map(({ name }) => name), metrics: ['acc'] },
];
