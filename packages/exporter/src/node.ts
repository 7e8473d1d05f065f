/** Exported files on disk. */
export { writeExport } from './write-export.ts';
