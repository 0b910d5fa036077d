// Chunks of HDF5 data sets whose headers are sound and whose contents are the input's: what our own code expands.

#include <algorithm>
#include <array>
#include <vector>

#include "fuzz.h"
#include "hdf5_library.h"
#include "hdf5_source.h"

using namespace ivf;
using namespace ivf::datasets;
using namespace ivf::fuzz;

namespace {

/// Adds filters in the order that the input says; each may come twice.
void add_filters(hid_t plist, Choices& input) {
  for (std::size_t left = input.byte() % 4; left > 0; --left) {
    switch (input.byte() % 3) {
      case 0:
        H5Pset_deflate(plist, 1);
        break;
      case 1:
        H5Pset_shuffle(plist);
        break;
      default:
        H5Pset_fletcher32(plist);
    }
  }
}

hid_t type_of(std::uint8_t choice) {
  const std::array<hid_t, 8> types{H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_STD_U8LE,  H5T_STD_I16BE,
                                   H5T_STD_I32LE,  H5T_STD_I64BE,  H5T_STD_U64LE, H5T_STD_U16LE};
  return types[choice % types.size()];
}

/// A file with the data set "train" in chunks, some of which hold the input's bytes as they are.
void write_file(const std::string& path, Choices& input) {
  const Hdf5Id file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  require(bool(file), "a file can be made");
  const bool two = input.byte() % 4 != 0;
  const int rank = two ? 2 : 1;
  const std::array<hsize_t, 2> size{1 + input.byte() % 40U, 1 + input.byte() % 40U};
  const std::array<hsize_t, 2> limit{H5S_UNLIMITED, H5S_UNLIMITED};
  const std::array<hsize_t, 2> chunk{1 + input.byte() % 20U, 1 + input.byte() % 20U};
  const Hdf5Id space(H5Screate_simple(rank, size.data(), limit.data()));
  const Hdf5Id plist(H5Pcreate(H5P_DATASET_CREATE));
  H5Pset_chunk(plist.get(), rank, chunk.data());
  if (input.flip()) H5Pset_chunk_opts(plist.get(), H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS);
  add_filters(plist.get(), input);
  const Hdf5Id dataset(
      H5Dcreate2(file.get(), "train", type_of(input.byte()), space.get(), H5P_DEFAULT, plist.get(), H5P_DEFAULT));
  for (std::size_t left = input.byte() % 4; dataset && left > 0; --left) {
    const std::array<hsize_t, 2> place{input.byte() % size[0] / chunk[0] * chunk[0],
                                       input.byte() % size[1] / chunk[1] * chunk[1]};
    const std::uint32_t skipped = input.byte() % 8;
    const std::string bytes(input.take(left == 1 ? input.rest().size() : input.byte() * 4U));
    if (!bytes.empty()) H5Dwrite_chunk(dataset.get(), H5P_DEFAULT, skipped, place.data(), bytes.size(), bytes.data());
  }
}

}  // namespace

extern "C" int fuzz_one(const std::uint8_t* data, std::size_t size) {
  Choices input(data, size);
  const MemoryFile file;
  {
    const Hdf5Guard guard;
    write_file(file.path(), input);
  }
  accepted([&] {
    Hdf5Source source(file.path(), "train");
    const Hdf5Source::Shape shape = source.shape();
    for (std::uint64_t row = 0; row < shape.rows; row += shape.slab_rows) {
      const std::uint64_t count = std::min(shape.slab_rows, shape.rows - row);
      std::vector<std::byte> slab(count * shape.row_bytes);
      source.load(row, count, slab.data());
    }
  });
  return 0;
}
