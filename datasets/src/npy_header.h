#pragma once
/// \file
/// The text header of a .npy file: a Python dictionary literal.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ivf/datasets/datasets.hpp"

namespace ivf::datasets {

struct NpyHeader {
  Element element = Element::f32;
  bool swapped = false;
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;
};

/// Parses the dictionary. `name` is for messages. Throws Error(corrupt) when the text is no such dictionary,
/// Error(misuse) for an element type that is not supported.
NpyHeader parse_npy_header(std::string_view text, const std::string& name);

/// The first 128 bytes of a version 1.0 file. Their number does not depend on `rows`.
std::string npy_preamble(Element element, std::uint64_t rows, std::size_t dim);

}  // namespace ivf::datasets
