/** The description of the API: made from the routes, complete, and OpenAPI 3.1 by its structure. */
import { expect } from 'chai';
import { permissions } from '../../src/agent/access/permissions.ts';
import { allRoutes } from '../../src/agent/api/all-routes.ts';
import type { ApiContext } from '../../src/agent/api/context.ts';
import { openApiDocument, openApiPath } from '../../src/agent/api/openapi.ts';

interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters: readonly { name: string; in: string; required: boolean; schema: object }[];
  readonly requestBody?: { content: Record<string, { schema: object }> };
  readonly responses: Record<string, { description: string; content: Record<string, { schema: object }> }>;
  readonly security: readonly Record<string, readonly string[]>[];
}
interface Document {
  readonly openapi: string;
  readonly info: { title: string; version: string };
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: { schemas: Record<string, object>; securitySchemes: Record<string, { type: string }> };
}

describe('openapi', () => {
  const routes = allRoutes({} as ApiContext);
  const document = JSON.parse(JSON.stringify(openApiDocument(routes, '0.1.0'))) as Document;
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  );

  it('has each route once, and each route has a row in the table of permissions', () => {
    const described = operations.map(({ path, method }) => `${method} ${path}`).sort();
    const wanted = routes.map(({ method, path }) => `${method.toLowerCase()} ${openApiPath(path)}`).sort();
    expect(described).to.deep.equal(wanted);
    expect(new Set(routes.map(({ id }) => id))).to.deep.equal(new Set(Object.keys(permissions)));
  });

  it('is OpenAPI 3.1 by its structure', () => {
    expect(document.openapi).to.equal('3.1.0');
    expect(document.info).to.include.keys('title', 'version');
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size, 'operation ids are different').to.equal(ids.length);
    for (const { path, method, operation } of operations) {
      const at = `${method} ${path}`;
      expect(['get', 'post', 'put', 'delete'], at).to.include(method);
      expect(path, at).to.match(/^\/api\/v1\/[a-z]/);
      expect(operation.summary, at).to.match(/\.$/);
      const inPath = [...path.matchAll(/\{([A-Za-z]+)\}/g)].map((match) => match[1]);
      const named = operation.parameters.filter((each) => each.in === 'path');
      expect(
        named.map(({ name }) => name),
        at,
      ).to.deep.equal(inPath);
      expect(
        named.every(({ required }) => required),
        at,
      ).to.equal(true);
      for (const parameter of operation.parameters) expect(parameter.schema, at).to.be.an('object');
      for (const [status, { description, content }] of Object.entries(operation.responses)) {
        expect(status, at).to.match(/^(?:[1-5]\d\d|default)$/);
        expect(description, at).to.not.equal('');
        for (const { schema } of Object.values(content)) expect(schema, at).to.be.an('object');
      }
      expect(operation.responses, at).to.include.keys('200', 'default');
      for (const need of operation.security)
        for (const scheme of Object.keys(need))
          expect(document.components.securitySchemes, at).to.have.property(scheme);
      if (method === 'get') expect(operation.requestBody, at).to.equal(undefined);
    }
  });

  it('every reference leads somewhere', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(
      (match) => match[1] ?? '',
    );
    expect(references).to.include('#/components/schemas/Error');
    for (const reference of references) {
      const found = reference
        .replace(/^#\//, '')
        .split('/')
        .reduce<unknown>((value, key) => Reflect.get(Object(value), key), document);
      expect(found, reference).to.be.an('object');
    }
  });
});
