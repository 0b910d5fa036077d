// .fvecs, .bvecs, .ivecs: every row is an int32 dimension and its elements.

#include <algorithm>
#include <cstring>

#include "errors.h"
#include "formats.h"
#include "stored_reader.h"

namespace ivf::datasets {

namespace {

std::int32_t load_int32(const std::byte* bytes) noexcept {
  std::int32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

class VecsReader final : public StoredReader {
 public:
  VecsReader(const Spec& spec, const ReadOptions& options) : StoredReader({}), input_(spec.path) {
    name_ = input_.name();
    const auto header = input_.peek(sizeof(std::int32_t));
    if (header.empty()) {
      throw corrupt("{}: is empty, so that its dimension is unknown; expected {} rows", name_,
                    format_name(spec.format));
    }
    if (header.size() < sizeof(std::int32_t)) {
      throw corrupt("{}: byte 0: expected a dimension of 4 bytes, found the end after {}", name_, header.size());
    }
    const std::size_t dim = checked_dim(load_int32(header.data()), name_, "byte 0");
    const Element element = *format_element(spec.format);
    record_ = sizeof(std::int32_t) + dim * element_size(element);
    std::optional<std::uint64_t> rows;
    if (input_.size()) {
      if (*input_.size() % record_ != 0) {
        throw corrupt(
            "{}: expected a multiple of {} bytes (rows of dimension {}), found {}: {} bytes too many; the file is "
            "truncated or its rows differ in dimension",
            name_, record_, dim, *input_.size(), *input_.size() % record_);
      }
      rows = *input_.size() / record_;
    }
    set_shape({dim, rows, element, element, false}, options);
    const std::uint64_t before = checked_product(first_row(), record_, name_);
    if (const std::uint64_t skipped = input_.skip(before); skipped < before) {
      throw misuse("{}: cannot start at row {}: there are {} rows", name_, first_row(), skipped / record_);
    }
  }

 private:
  Block next_block(std::size_t max_rows) override {
    const auto bytes = input_.peek(record_);
    if (bytes.empty() && !rows()) return {};
    if (bytes.size() < record_) {
      throw corrupt("{}: byte {}: expected {} bytes of row {}, found the end after {}; the data are truncated", name_,
                    input_.offset(), record_, next_row(), bytes.size());
    }
    const std::size_t count = std::min(max_rows, bytes.size() / record_);
    const auto expected = static_cast<std::int32_t>(dim());
    for (std::size_t row = 0; row < count; ++row) {
      const std::int32_t found = load_int32(bytes.data() + row * record_);
      if (found != expected) {
        throw corrupt("{}: byte {} (row {}): expected dimension {} as in the first row, found {}", name_,
                      input_.offset() + row * record_, next_row() + row, expected, found);
      }
    }
    input_.consume(count * record_);
    return {bytes.data() + sizeof(std::int32_t), count, record_};
  }

  Input input_;
  std::size_t record_ = 0;
};

}  // namespace

std::unique_ptr<Reader> open_vecs(const Spec& spec, const ReadOptions& options) {
  return std::make_unique<VecsReader>(spec, options);
}

}  // namespace ivf::datasets
