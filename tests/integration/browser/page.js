// SPDX-License-Identifier: MIT
// mqtt.js in a page: the query names the broker, the result goes to the server that the page came from.
'use strict'

const mqtt = require('mqtt/lib/connect/index.js')
const scenario = require('./scenario.js')

async function main () {
  const lines = []
  for (const url of new URLSearchParams(location.search).getAll('url')) {
    for (const version of [3, 4, 5]) lines.push(url + ' ' + await scenario(mqtt, url, version, {}))
  }
  return lines.join('\n') + '\ndone'
}

main().catch(e => 'failed: ' + e.stack).then(text => fetch('/result', { method: 'POST', body: text }))
