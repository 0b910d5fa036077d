'use strict';
// Writes rows of bytes as .u8bin: uint32 rows, uint32 dimension, then the rows.
const fs = require('fs');

// `rows` is an array of arrays or buffers, each of `dim` whole numbers from 0 to 255.
function writeU8bin(path, rows, dim) {
  const file = Buffer.alloc(8 + rows.length * dim);
  file.writeUInt32LE(rows.length, 0);
  file.writeUInt32LE(dim, 4);
  rows.forEach((row, i) => {
    if (row.length !== dim) throw new Error(`${path}: row ${i}: expected ${dim} numbers, found ${row.length}`);
    for (let j = 0; j < dim; ++j) {
      const value = row[j];
      if (!Number.isInteger(value) || value < 0 || value > 255) {
        throw new Error(`${path}: row ${i}, column ${j}: expected a whole number from 0 to 255, found ${value}`);
      }
      file[8 + i * dim + j] = value;
    }
  });
  fs.writeFileSync(path, file);
}

module.exports = { writeU8bin };
