/** Which keys a schema knows at a path of the document: for messages about unknown ones. Reads zod's own definitions. */
import { z } from 'zod';

type Path = readonly PropertyKey[];

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodReadonly
  ) {
    return unwrap(schema.def.innerType);
  }
  if (schema instanceof z.ZodPipe) return unwrap(schema.def.in);
  return schema;
}

/** The option of a union whose literal fields match the value; the first object option when none does. */
function chooseOption(options: readonly z.core.$ZodType[], value: unknown): z.core.$ZodType | undefined {
  const objects = options.map(unwrap).filter((option) => option instanceof z.ZodObject);
  const record = typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  const matching = objects.find((option) =>
    Object.entries(option.shape).every(
      ([key, field]) => !(field instanceof z.ZodLiteral) || field.safeParse(record[key]).success,
    ),
  );
  return matching ?? objects[0];
}

/** Known keys of the mapping at `path` of `value`; empty when the schema knows no mapping there. */
export function knownKeys(schema: z.core.$ZodType, path: Path, value: unknown): readonly string[] {
  let current = unwrap(schema);
  if (current instanceof z.ZodUnion) {
    const option = chooseOption(current.def.options, value);
    if (option === undefined) return [];
    current = option;
  }
  const [step, ...rest] = path;
  if (step === undefined) return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
  const inner = typeof value === 'object' && value !== null ? Reflect.get(value, step) : undefined;
  if (current instanceof z.ZodArray) return knownKeys(current.def.element, rest, inner);
  if (current instanceof z.ZodRecord) return knownKeys(current.def.valueType, rest, inner);
  if (!(current instanceof z.ZodObject)) return [];
  const field = current.shape[String(step)];
  return field === undefined ? [] : knownKeys(field, rest, inner);
}
