#pragma once
/// \file
/// How a source or destination is named on the command line.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

enum class Format {
  fvecs,
  bvecs,
  ivecs,  // every record: int32 dimension, then the elements
  fbin,
  u8bin,
  i8bin,
  ibin,          // uint32 rows, uint32 dimension, then the elements
  ground_truth,  // uint32 rows, uint32 k, int32 ids, then float32 distances
  npy,
  hdf5,
  gaussian,
  uniform,
  clustered,
};

/// A parsed name.
struct Spec {
  Format format = Format::fvecs;
  std::string path;     ///< "-" is a pipe. For generators: the options after the colon.
  std::string dataset;  ///< What follows `file.h5:` or `gt:PATH:`; may be empty.
  std::string text;     ///< As the user wrote it.

  bool is_pipe() const noexcept { return path == "-"; }
  bool is_generated() const noexcept { return format >= Format::gaussian; }
};

/// Throws Error(misuse) when the name tells no format.
Spec parse_spec(const std::string& text);

/// The element type that a format fixes; none for npy and HDF5.
std::optional<Element> format_element(Format format) noexcept;

const char* format_name(Format format) noexcept;

}  // namespace ivf::datasets
