// The big-ann formats: uint32 rows, uint32 dimension, then the elements; and ground truth, which has two matrices.

#include <array>
#include <cstring>

#include "errors.h"
#include "formats.h"
#include "matrix_reader.h"

namespace ivf::datasets {

std::unique_ptr<Reader> open_bigann(const Spec& spec, const ReadOptions& options) {
  auto input = std::make_unique<Input>(spec.path);
  std::string name = input->name();
  std::array<std::uint32_t, 2> header;
  const auto bytes = input->peek(sizeof(header));
  if (bytes.size() < sizeof(header)) {
    throw corrupt("{}: expected a header of {} bytes (rows, dimension), found the end after {}", name, sizeof(header),
                  bytes.size());
  }
  std::memcpy(header.data(), bytes.data(), sizeof(header));
  input->consume(sizeof(header));
  MatrixLayout layout;
  layout.rows = header[0];
  layout.dim = checked_dim(header[1], name, "byte 4");

  const std::uint64_t half = layout.rows * layout.dim * sizeof(std::int32_t);
  // Ground truth is commonly kept under .ibin or .bin; its size tells it from a plain matrix of ids.
  const bool two_halves = spec.format == Format::ground_truth ||
                          (spec.format == Format::ibin && half > 0 && input->size() == sizeof(header) + 2 * half);
  if (two_halves) {
    const bool distances = spec.dataset.empty() ? options.role == Role::distances : spec.dataset == "distances";
    layout.element = distances ? Element::f32 : Element::i32;
    (distances ? layout.before : layout.after) = half;
    name += distances ? ":distances" : ":ids";
  } else {
    layout.element = *format_element(spec.format);
  }
  return std::make_unique<MatrixReader>(std::move(input), std::move(name), layout, options);
}

}  // namespace ivf::datasets
