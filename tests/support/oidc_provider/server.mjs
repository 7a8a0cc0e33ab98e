// A real OpenID provider on loopback, for tests. Argument: the directory with its node_modules.
// Standard input: one JSON object a line, {jwks, clients: {id: {secret, alg, claims}}}; each one sets the provider up
// anew at the same address and is answered with a line {issuer}. The end of the input ends the server.
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// Standard output is for answers; the provider's advice on its settings is for others.
console.info = () => {};
console.warn = () => {};
const installed = createRequire(join(process.argv[2], 'package.json'));
const { Provider } = await import(pathToFileURL(installed.resolve('oidc-provider')));

function made(issuer, { jwks, clients }) {
  return new Provider(issuer, {
    jwks,
    clients: Object.entries(clients).map(([id, { secret }]) => ({
      client_id: id,
      client_secret: secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
    })),
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256'] },
    extraTokenClaims: (context, token) => clients[token.clientId].claims,
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (context, resource, client) => ({
          scope: '',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 600,
          jwt: { sign: { alg: clients[client.clientId].alg } },
        }),
      },
    },
  });
}

let answer;
const server = createServer((request, response) => answer(request, response));
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    answer = made(issuer, JSON.parse(line)).callback();
    process.stdout.write(`${JSON.stringify({ issuer })}\n`);
  });
  lines.on('close', () => process.exit(0));
});
