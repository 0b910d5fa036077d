#include "stored_writer.h"

#include <algorithm>

#include "errors.h"

namespace ivf::datasets {

namespace {

constexpr std::size_t kBatchBytes = std::size_t{1} << 18;

}  // namespace

StoredWriter::StoredWriter(std::string name, std::size_t dim, Element element, std::size_t prefix)
    : name_(std::move(name)),
      dim_(dim),
      element_(element),
      prefix_(prefix),
      row_bytes_(prefix + dim * element_size(element)),
      batch_(std::max<std::size_t>(1, kBatchBytes / row_bytes_) * row_bytes_) {}

template <class Convert, class Value>
void StoredWriter::write_with(Convert convert, const Value* rows, std::size_t count) {
  const std::size_t batch_rows = batch_.size() / row_bytes_;
  while (count > 0) {
    const std::size_t size = std::min(count, batch_rows);
    const std::size_t runs = prefix_ == 0 ? 1 : size;  // rows without gaps are converted in one go
    const std::size_t run_values = size / runs * dim_;
    for (std::size_t run = 0; run < runs; ++run) {
      const std::size_t converted =
          convert(rows + run * run_values, run_values, element_, batch_.data() + run * row_bytes_ + prefix_);
      if (converted < run_values) {
        const std::size_t index = run * run_values + converted;
        throw misuse("{}: row {}, column {}: {} cannot be stored exactly as {}; choose another element type or format",
                     name_, rows_ + index / dim_, index % dim_, rows[index], element_name(element_));
      }
    }
    put(batch_.data(), size);
    rows_ += size;
    rows += size * dim_;
    count -= size;
  }
}

void StoredWriter::write(const float* rows, std::size_t count) { write_with(from_float, rows, count); }

void StoredWriter::write_ids(const idx_t* rows, std::size_t count) { write_with(from_ids, rows, count); }

void check_shape(const std::string& name, std::size_t dim, Element element, std::optional<Element> fixed) {
  if (dim < 1 || dim > kMaxDim) {
    throw misuse("{}: expected a dimension of 1 to {}, found {}", name, kMaxDim, dim);
  }
  if (fixed && *fixed != element) {
    throw misuse("{}: this format stores {}, not {}; choose another format or element type", name, element_name(*fixed),
                 element_name(element));
  }
}

}  // namespace ivf::datasets
