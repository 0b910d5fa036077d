#pragma once
/// \file
/// The chunks of an HDF5 data set, expanded by our own code.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hdf5_library.h"

namespace ivf::datasets {

/// A data set of one or two axes, and its chunks, seen as rows.
struct ChunkView {
  enum class Axes { rows_and_columns, rows, columns };
  Axes axes = Axes::rows_and_columns;
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
  std::uint64_t chunk_rows = 1;
  std::uint64_t chunk_columns = 1;
};

/// Reads the chunks of a data set.
///
/// The library (1.10) trusts a chunk to have, or to expand to, the size that follows from the header: when it is less,
/// memory behind it is read, and when it expands to more, as much memory is taken as it likes. So the library only
/// fetches the stored bytes here, and gzip, byte shuffling and checksums are undone within exact bounds.
///
/// Only for data sets with filters: the size of a chunk without any is what the header says when it is asked for, and
/// what the chunk's own entry says, as much as that may be, when it is fetched.
class Hdf5Chunks {
 public:
  /// `memory_type` is what the values become.
  Hdf5Chunks(hid_t dataset, std::string name, const ChunkView& view, hid_t memory_type, std::uint64_t file_bytes);

  /// Whether every filter of these creation properties is one that is undone here.
  static bool can_undo(hid_t create_plist);

  /// Rows first .. first + count (a one-dimensional data set is one column), row-major. Chunks are expanded whole:
  /// callers ask for rows that start and end with chunks.
  void read(std::uint64_t first, std::uint64_t count, std::byte* out);

 private:
  /// Expands the chunk that starts at this row and column. False when it was never written.
  bool load(std::uint64_t row, std::uint64_t column);
  /// Undoes the filters of stored_, except those whose bit is set.
  void undo_filters(std::uint32_t skipped);
  [[noreturn]] void fail(const std::string& what) const;

  hid_t dataset_;
  std::string name_;
  ChunkView view_;
  hid_t memory_type_;
  std::uint64_t file_bytes_;
  Hdf5Id file_type_;
  std::size_t stored_size_ = 0;  ///< Of one element in the file,
  std::size_t memory_size_ = 0;  ///< and in memory.
  std::size_t chunk_bytes_ = 0;  ///< Of an expanded chunk, as stored.
  struct Filter {
    H5Z_filter_t id = H5Z_FILTER_NONE;
    std::size_t shuffled_size = 1;  ///< Of the elements whose bytes were shuffled.
  };
  static std::vector<Filter> filters_of(hid_t create_plist);

  std::vector<Filter> filters_;
  bool plain_edges_ = false;  ///< Chunks that stick out of the data set are stored without filters.
  std::vector<std::byte> fill_;
  std::vector<std::byte> stored_;    ///< A chunk as it is fetched and step by step undone,
  std::vector<std::byte> scratch_;   ///< the next step,
  std::vector<std::byte> expanded_;  ///< and its values.
  std::uint64_t row_ = 0;            ///< Where the chunk being read starts,
  std::uint64_t column_ = 0;         ///< for messages.
};

}  // namespace ivf::datasets
