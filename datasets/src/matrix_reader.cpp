#include "matrix_reader.h"

#include <algorithm>

#include "errors.h"

namespace ivf::datasets {

MatrixReader::MatrixReader(std::unique_ptr<Input> input, std::string name, const MatrixLayout& layout,
                           const ReadOptions& options)
    : StoredReader(std::move(name)),
      input_(std::move(input)),
      row_bytes_(layout.dim * element_size(layout.element)),
      all_rows_(layout.rows),
      check_end_(!input_->size() && layout.after == 0) {
  const std::uint64_t matrix = checked_product(layout.rows, row_bytes_, name_);
  if (input_->size()) {
    const std::uint64_t expected = input_->offset() + layout.before + matrix + layout.after;
    if (*input_->size() != expected) {
      throw corrupt("{}: its header claims {} rows of {} {}, {} bytes in all, found {}; the file is {}", name_,
                    layout.rows, layout.dim, element_name(layout.element), expected, *input_->size(),
                    *input_->size() < expected ? "truncated" : "longer than it should be, or of another format");
    }
  }
  set_shape({layout.dim, layout.rows, layout.element, layout.element, layout.swapped}, options);
  const std::uint64_t before = layout.before + first_row() * row_bytes_;
  if (input_->skip(before) < before) {
    throw corrupt("{}: expected {} rows, found the end at byte {}", name_, all_rows_, input_->offset());
  }
}

StoredReader::Block MatrixReader::next_block(std::size_t max_rows) {
  const std::uint64_t left = all_rows_ - next_row();
  const auto bytes = input_->peek(row_bytes_);
  if (bytes.size() < row_bytes_) {
    throw corrupt("{}: byte {}: expected {} more rows, found the end in row {}; the data are truncated", name_,
                  input_->offset(), left, next_row());
  }
  // One byte less than the buffer holds, so that the byte behind the last row can be asked for.
  const std::size_t count = std::min(max_rows, std::min(bytes.size(), Input::kCapacity - 1) / row_bytes_);
  auto block = bytes;
  if (check_end_ && count == left) {
    block = input_->peek(count * row_bytes_ + 1);
    if (block.size() > count * row_bytes_) {
      throw corrupt("{}: byte {}: expected the end after {} rows, found more data", name_,
                    input_->offset() + count * row_bytes_, all_rows_);
    }
  }
  input_->consume(count * row_bytes_);
  return {block.data(), count, row_bytes_};
}

}  // namespace ivf::datasets
