/** Options that the commands for chips and phones have in common. */
import { type Option, text } from '../options.ts';

export const deviceOptions: Readonly<{ soc: Option<string>; sdk: Option<string | undefined> }> = {
  soc: text('CHIP', 'SM8750, SM8650, SM8550, SM8450, or the name that it is sold by'),
  sdk: text('DIR', "folder of Qualcomm's SDK (default: what QNN_SDK_ROOT names)", undefined),
};

export const pythonOption: Option<string | undefined> = text(
  'FILE',
  'Python with onnxruntime-qnn (default: what MOBILEQUANT_PYTHON names, or python3)',
  undefined,
);
