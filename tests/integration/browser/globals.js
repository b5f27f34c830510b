// SPDX-License-Identifier: MIT
// What code for Node takes for granted.
export { Buffer } from 'buffer/'
export * as process from 'process/browser.js'
