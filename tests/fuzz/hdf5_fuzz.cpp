// Whole HDF5 files, through the reader that a user gets: whatever the library does with them, there are rows or one
// error.
//
// The library works in a process of its own, so that what it covers is not seen here: the seeds and their mutations are
// all there is. hdf5_chunks_fuzz.cpp looks inside.

#include "fuzz.h"
#include "ivf/datasets/datasets.hpp"
#include "rows.h"

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  ivf::fuzz::Choices input(data, size);
  if (input.byte() % 8 == 1) {
    const ivf::fuzz::MemoryFile file(input.rest());
    ivf::fuzz::accepted([&] { ivf::datasets::stored_metric("h5:" + file.path()); });
    return 0;
  }
  ivf::fuzz::check_rows("h5", input.rest());
  return 0;
}
