// Somebody else's client of XenAPI at a simulated pool. Argument: the directory with its node_modules.
// Standard input: one JSON object {url, user, password, transport, machine}. It logs in, lists, follows the machine by
// events, takes a snapshot of it by a task, fails once, and says on standard output what it saw, as one JSON object.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';

const installed = createRequire(join(process.argv[2], 'package.json'));
const { createClient } = await import(pathToFileURL(installed.resolve('xen-api')));
const { url, user, password, transport, machine } = JSON.parse(await text(process.stdin));

const xapi = createClient({ url, auth: { user, password }, transport, debounce: 10, watchEvents: ['VM', 'VDI', 'pool', 'task'] });
xapi.on('eventFetchingError', (error) => console.error(error));

// Resolves once the client's own picture of the pool, which only events change, is as wanted.
function seen(wanted) {
  return new Promise((resolve) => {
    const look = () => {
      const found = Object.values(xapi.objects.all).find(wanted);
      if (found !== undefined) {
        xapi.objects.removeListener('finish', look);
        resolve(found);
      }
    };
    xapi.objects.on('finish', look);
    look();
  });
}

await xapi.connect();
await xapi.objectsFetched;
const vm = await seen((object) => object.$type === 'VM' && object.name_label === machine);
const disks = await xapi.getAllRecords('VDI');
const renamed = seen((object) => object.$ref === vm.$ref && object.name_label === 'renamed');
await xapi.call('VM.set_name_label', vm.$ref, 'renamed');
await renamed;
const snapshot = await xapi.callAsync('VM.snapshot', vm.$ref, 'theirs', []);
const taken = await seen((object) => object.$ref === snapshot);
let failure;
try {
  await xapi.callAsync('VDI.data_destroy', disks[0].$ref);
} catch (error) {
  failure = { code: error.code, params: error.params };
}
process.stdout.write(
  JSON.stringify({
    pool: xapi.pool.name_label,
    size: disks[0].virtual_size,
    snapshot: { ref: taken.$ref, name: taken.name_label, isSnapshot: taken.is_a_snapshot, of: taken.snapshot_of === vm.$ref },
    failure,
  })
);
await xapi.disconnect();
process.exit(0);
