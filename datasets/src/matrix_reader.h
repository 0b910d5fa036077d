#pragma once
/// \file
/// Reader of a matrix that lies in one piece, row after row, behind some header.

#include <memory>

#include "input.h"
#include "stored_reader.h"

namespace ivf::datasets {

/// Where the matrix lies in the stream.
struct MatrixLayout {
  std::uint64_t rows = 0;
  std::size_t dim = 0;
  Element element = Element::f32;
  bool swapped = false;
  std::uint64_t before = 0;  ///< Bytes between the stream's current position and the first row.
  std::uint64_t after = 0;   ///< Bytes that follow the last row and belong to the file.
};

class MatrixReader final : public StoredReader {
 public:
  /// `input` stands behind the header. `name` is for messages.
  MatrixReader(std::unique_ptr<Input> input, std::string name, const MatrixLayout& layout, const ReadOptions& options);

 private:
  Block next_block(std::size_t max_rows) override;

  std::unique_ptr<Input> input_;
  std::size_t row_bytes_;
  std::uint64_t all_rows_;
  bool check_end_;
};

}  // namespace ivf::datasets
