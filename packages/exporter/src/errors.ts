/** A model that a target cannot express: names the site, and says what can be done. */
export class ExportError extends Error {
  override readonly name = 'ExportError';
  /** Full site name, or an option's. */
  readonly site: string;
  readonly expected: string;
  readonly received: string;

  constructor(site: string, expected: string, received: string, advice: string) {
    super(`export: ${site}: expected ${expected}, got ${received}. ${advice}`);
    this.site = site;
    this.expected = expected;
    this.received = received;
  }
}
