// SPDX-License-Identifier: MIT
// node run.js URL [CA-FILE]: mqtt.js under Node.
'use strict'

const fs = require('fs')
const mqtt = require('mqtt')
const scenario = require('./scenario.js')

async function main () {
  const more = process.argv[3] ? { ca: fs.readFileSync(process.argv[3]) } : {}
  for (const version of [3, 4, 5]) console.log(await scenario(mqtt, process.argv[2], version, more))
}

main().then(() => process.exit(0), e => {
  console.log(e.stack)
  process.exit(1)
})
