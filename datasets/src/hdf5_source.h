#pragma once
/// \file
/// A data set of an HDF5 file, read in slabs through the library: what may crash when the file is damaged.

#include <cstdint>
#include <memory>
#include <string>

#include "hdf5_chunks.h"
#include "hdf5_library.h"
#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

/// How a stored type is read: the library widens or re-orders to `memory`, our converters do the rest.
struct Hdf5Type {
  hid_t memory = H5I_INVALID_HID;  ///< A constant of the library, not owned.
  Element element = Element::f32;
  Element reported = Element::f32;
  bool wide_unsigned = false;  ///< uint64, of which only the lower half fits idx_t.
};

class Hdf5Source {
 public:
  /// What a reader has to know; copied between processes.
  struct Shape {
    std::uint64_t rows = 0;
    std::uint64_t dim = 0;
    Element element = Element::f32;
    Element reported = Element::f32;
    std::uint64_t row_bytes = 0;
    std::uint64_t slab_rows =
        1;  ///< Slabs start at multiples of it: they end where chunks end, so that none is fetched twice.
    std::uint64_t working_bytes = 0;  ///< Memory that loading a slab takes.
  };

  /// Throws Error(corrupt) or Error(misuse).
  Hdf5Source(const std::string& path, const std::string& dataset);
  Hdf5Source(const Hdf5Source&) = delete;
  Hdf5Source& operator=(const Hdf5Source&) = delete;
  ~Hdf5Source();

  const Shape& shape() const noexcept { return shape_; }
  /// The descriptor of the open file.
  int descriptor() const;
  /// Reads `count` rows that lie in one slab.
  void load(std::uint64_t row, std::uint64_t count, std::byte* out);

 private:
  std::uint64_t file_bytes() const;
  void plan_slabs();
  ChunkView chunk_view(hid_t plist) const;
  std::uint64_t check_chunks(hid_t plist, const ChunkView& view) const;
  void read_slab(std::uint64_t row, std::uint64_t count, std::byte* out) const;
  void check_unsigned(std::uint64_t row, std::uint64_t count, const std::byte* slab) const;

  std::string name_;
  Hdf5Id file_;
  Hdf5Id dataset_;
  std::unique_ptr<Hdf5Chunks> chunks_;  ///< For chunked data sets.
  Hdf5Type type_;
  std::size_t rank_ = 2;
  bool one_row_ = false;  ///< A one-dimensional data set that is a single vector.
  Shape shape_;
};

}  // namespace ivf::datasets
