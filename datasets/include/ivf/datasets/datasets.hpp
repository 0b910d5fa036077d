#pragma once
/// \file
/// Vectors by name: streaming readers, writers and generators of matrices.
///
/// A source or destination is named by path. The extension picks the format:
/// .fvecs .bvecs .ivecs .fbin .u8bin .i8bin .ibin .npy .h5/.hdf5 (`file.h5:name` picks a data set).
/// A format may also be put first, for a path without such an extension: `fvecs:PATH`, `npy:/dev/fd/3`, ...;
/// `gt:PATH` is big-ann ground truth (`gt:PATH:ids`, `gt:PATH:distances`).
/// `gaussian:n=..,d=..,seed=..`, `uniform:...`, `clustered:...` are generated, `-` is a pipe (`fvecs:-`, `npy:-`, ...
/// names its format; fvecs when silent). Every reader and writer uses bounded memory. datasets/README.md has the
/// details.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ivf/types.hpp"

namespace ivf::datasets {

/// The type of the elements as stored.
enum class Element { f32, f64, f16, u8, i8, i32, i64 };

const char* element_name(Element element) noexcept;

/// A matrix read front to back. Not thread-safe.
class Reader {
 public:
  virtual ~Reader() = default;
  virtual std::size_t dim() const = 0;
  /// The number of rows that start and count select, when it is known before the end (not for a pipe of fvecs).
  virtual std::optional<std::uint64_t> rows() const = 0;
  virtual Element element() const = 0;
  /// What the user would call it: path and data set name. For messages.
  virtual const std::string& name() const = 0;
  /// Reads up to `max_rows` rows into `out` (row-major, no gaps), converted to float32. Returns the number read; 0 at
  /// the end. Throws Error(corrupt) with file, byte offset or row, expected and found; integers that float32 cannot
  /// hold exactly
  /// (|v| > 2^24) are refused with Error(misuse). NaN and infinities are passed on: the engine refuses them.
  virtual std::size_t read(float* out, std::size_t max_rows) = 0;
  /// The same for integer matrices (ids). Throws Error(misuse) when the elements are not integers.
  virtual std::size_t read_ids(idx_t* out, std::size_t max_rows) = 0;
};

/// Which data set of an HDF5 file is meant when the path does not say.
enum class Role { base, queries, neighbors, distances };

struct ReadOptions {
  Role role = Role::base;
  std::uint64_t start = 0;               ///< First row; seeks where the format allows it.
  std::optional<std::uint64_t> count{};  ///< At most so many rows.
};

/// Opens a source. Throws Error(misuse) for an unknown name or option, Error(failed) when it cannot be opened,
/// Error(corrupt) when it is not what its name says.
std::unique_ptr<Reader> open_reader(const std::string& spec, const ReadOptions& options = {});

/// Reads all rows that are left, or up to `max_rows`. `dim` receives the dimension.
std::vector<float> read_all(Reader& reader, std::optional<std::uint64_t> max_rows = {});
std::vector<idx_t> read_all_ids(Reader& reader, std::optional<std::uint64_t> max_rows = {});

/// The metric that an HDF5 file's `distance` attribute names ("euclidean", "angular", "dot", ...), if it has one.
/// Throws Error(misuse) when it names one that the project does not have ("jaccard").
std::optional<Metric> stored_metric(const std::string& spec);

/// A matrix written front to back. The destination appears, whole, at finish(); without it nothing is left behind.
class Writer {
 public:
  virtual ~Writer() = default;
  virtual void write(const float* rows, std::size_t count) = 0;
  virtual void write_ids(const idx_t* rows, std::size_t count) = 0;
  virtual void finish() = 0;
};

struct WriteOptions {
  std::size_t dim = 0;
  Element element = Element::f32;  ///< Formats that fix the type refuse another one.
  /// For HDF5: value of the attribute `distance`, written when not empty.
  std::string distance{};
  Role role = Role::base;  ///< For HDF5: the data set's name when the path does not say.
  /// The number of rows to come, when it is known. Formats whose header holds it can then be piped as they are made;
  /// without it a pipe's bytes wait in a temporary file until finish(). A wrong number is put right where that is
  /// possible.
  std::optional<std::uint64_t> rows{};
  unsigned deflate = 0;  ///< For HDF5: gzip level (after byte shuffling), 0 for none.
};

/// The element type that a destination's format fixes (.bvecs: u8, .ivecs: i32, ...); none for npy, HDF5 and `gt:`.
std::optional<Element> fixed_element(const std::string& spec);

/// Opens a destination. `file.h5:name` adds a data set to an existing file, `file.h5` replaces the file. A value that
/// the element type cannot hold exactly is refused with its row and column.
std::unique_ptr<Writer> open_writer(const std::string& spec, const WriteOptions& options);

/// Several data sets of one HDF5 file, written together (ann-benchmarks layout: train, test, neighbors, distances).
/// The file appears, whole, at finish().
class Hdf5File {
 public:
  static std::unique_ptr<Hdf5File> create(const std::string& path);
  /// Starts from the contents of an existing file, if there is one; a data set of the same name is replaced.
  static std::unique_ptr<Hdf5File> update(const std::string& path);
  virtual ~Hdf5File() = default;
  virtual void attribute(const std::string& name, const std::string& value) = 0;
  /// A growing data set; the returned writer lives as long as the file. Its finish() is the file's.
  /// `deflate` is a gzip level (after byte shuffling), 0 for none.
  virtual Writer& dataset(const std::string& name, std::size_t dim, Element element, unsigned deflate = 0) = 0;
  virtual void finish() = 0;
};

/// Whether the path names an HDF5 file (with or without a data set name).
bool is_hdf5(std::string_view spec);

/// The path within a source or destination, without format and data set: what will be opened. "-" is a pipe, and a name
/// that means nothing is returned as it is.
std::string path_of(const std::string& spec);

/// A result of ann-benchmarks' own layout (its results.py), which its plot.py and data_export.py read.
struct AnnBenchmarksResult {
  std::string algorithm, name, dataset, distance;
  bool batch_mode = false;
  std::size_t count = 0;  ///< Neighbours of each query.
  std::uint64_t run_count = 1;
  double best_search_time = 0;            ///< Seconds a query.
  double build_time = 0;                  ///< Seconds.
  double index_size = 0;                  ///< Kilobytes.
  double candidates = 0;                  ///< Results a query.
  std::optional<double> dist_comps{};     ///< Distances computed, of all queries and runs.
  std::vector<float> times{};             ///< Seconds of each query.
  std::vector<std::int32_t> neighbors{};  ///< times.size() x count; -1: missing.
  std::vector<float> distances{};         ///< As `distance` means it; infinite where missing.
};

/// Writes it to `path`, whole. Throws Error(failed).
void write_ann_benchmarks(const std::string& path, const AnnBenchmarksResult& result);

/// Version of the HDF5 library, as it is at run time.
std::string hdf5_version();

}  // namespace ivf::datasets
