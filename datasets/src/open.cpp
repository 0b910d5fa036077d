// From a name to a reader or a writer.

#include <algorithm>

#include "errors.h"
#include "formats.h"
#include "stored_writer.h"

namespace ivf::datasets {

namespace {

template <class Value, class Read>
std::vector<Value> read_rest(Reader& reader, std::optional<std::uint64_t> max_rows, Read read) {
  constexpr std::uint64_t kBatchBytes = std::uint64_t{1} << 24;
  const std::size_t dim = reader.dim();
  const std::uint64_t batch = std::max<std::uint64_t>(1, kBatchBytes / (dim * sizeof(Value)));
  std::uint64_t left = max_rows.value_or(~std::uint64_t{0});
  std::vector<Value> values;
  // What a header claims is believed only as far as rows arrive.
  if (reader.rows()) values.reserve(static_cast<std::size_t>(std::min({*reader.rows(), left, batch})) * dim);
  std::size_t filled = 0;
  while (left > 0) {
    const auto wanted = static_cast<std::size_t>(std::min(left, batch));
    values.resize(filled + wanted * dim);
    const std::size_t rows = read(values.data() + filled, wanted);
    filled += rows * dim;
    left -= rows;
    if (rows < wanted) break;
  }
  values.resize(filled);
  return values;
}

}  // namespace

std::unique_ptr<Reader> open_reader(const std::string& text, const ReadOptions& options) {
  const Spec spec = parse_spec(text);
  switch (spec.format) {
    case Format::fvecs:
    case Format::bvecs:
    case Format::ivecs:
      return open_vecs(spec, options);
    case Format::fbin:
    case Format::u8bin:
    case Format::i8bin:
    case Format::ibin:
    case Format::ground_truth:
      return open_bigann(spec, options);
    case Format::npy:
      return open_npy(spec, options);
    case Format::hdf5:
      return open_hdf5(spec, options);
    case Format::gaussian:
    case Format::uniform:
    case Format::clustered:
      return open_generated(spec, options);
  }
  throw misuse("'{}' names no known format", text);
}

std::vector<float> read_all(Reader& reader, std::optional<std::uint64_t> max_rows) {
  return read_rest<float>(reader, max_rows, [&](float* out, std::size_t rows) { return reader.read(out, rows); });
}

std::vector<idx_t> read_all_ids(Reader& reader, std::optional<std::uint64_t> max_rows) {
  return read_rest<idx_t>(reader, max_rows, [&](idx_t* out, std::size_t rows) { return reader.read_ids(out, rows); });
}

std::unique_ptr<Writer> open_writer(const std::string& text, const WriteOptions& options) {
  const Spec spec = parse_spec(text);
  if (spec.is_generated()) throw misuse("'{}' is generated and cannot be written to; name a file", text);
  // Ground truth takes ids and distances, whatever element type was asked for.
  check_shape(text, options.dim, options.element, format_element(spec.format));
  switch (spec.format) {
    case Format::fvecs:
    case Format::bvecs:
    case Format::ivecs:
      return create_vecs(spec, options);
    case Format::ground_truth:
      return create_ground_truth(spec, options);
    case Format::npy:
      return create_npy(spec, options);
    case Format::hdf5:
      return create_hdf5(spec, options);
    default:
      return create_bigann(spec, options);
  }
}

}  // namespace ivf::datasets
