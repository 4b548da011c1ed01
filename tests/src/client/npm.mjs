// Port mappings by clients from npm.
//
// npm.mjs FOLDER nat-upnp add|list|delete PORT     each search anew, and do one thing
// npm.mjs FOLDER nat-port-mapper map PORT          maps it, and unmaps it at SIGTERM
//
// FOLDER holds node_modules; the internal port is the external one.

import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import { pathToFileURL } from 'node:url'

const [folder, client, verb, word] = process.argv.slice(2)
const port = Number(word)

async function natUpnp () {
  const client = createRequire(`${folder}/`)('nat-upnp').createClient()
  const ask = name => promisify(client[name]).bind(client)
  if (verb === 'add') {
    await ask('portMapping')({ public: port, private: port, ttl: 0, description: 'nat-upnp' })
    console.log('external', await ask('externalIp')())
  } else if (verb === 'list') {
    for (const entry of await ask('getMappings')()) {
      console.log('mapping', entry.protocol, entry.public.port, entry.private.host, entry.description)
    }
  } else {
    await ask('portUnmapping')({ public: port })
  }
  client.close()
}

async function natPortMapper () {
  const file = `${folder}/node_modules/@achingbrain/nat-port-mapper/dist/src/index.js`
  const { upnpNat } = await import(pathToFileURL(file))
  for await (const gateway of upnpNat().findGateways({ signal: AbortSignal.timeout(20_000) })) {
    console.log('external', await gateway.externalIp())
    const mapped = await gateway.map(port, '192.168.77.2', { externalPort: port, protocol: 'TCP' })
    process.on('SIGTERM', async () => {
      await gateway.unmap(port)
      await gateway.stop()
      console.log('unmapped')
      process.exit(0)
    })
    console.log('mapped', mapped.externalPort)
    setInterval(() => {}, 1_000)
    return
  }
}

await (client === 'nat-upnp' ? natUpnp() : natPortMapper())
